"""Kinds of the core group (v1): one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.core import (
    configmap,
    endpoints,
    event,
    namespace,
    node,
    persistentvolume,
    persistentvolumeclaim,
    pod,
    secret,
    service,
    serviceaccount,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    configmap.DEFINITION,
    endpoints.DEFINITION,
    event.DEFINITION,
    namespace.DEFINITION,
    node.DEFINITION,
    persistentvolume.DEFINITION,
    persistentvolumeclaim.DEFINITION,
    pod.DEFINITION,
    secret.DEFINITION,
    service.DEFINITION,
    serviceaccount.DEFINITION,
)
