"""Kinds of the group networking.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.networking import (
    ingress,
    ingressclass,
    ipaddress,
    networkpolicy,
    servicecidr,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    ingress.DEFINITION,
    ingressclass.DEFINITION,
    ipaddress.DEFINITION,
    networkpolicy.DEFINITION,
    servicecidr.DEFINITION,
)
