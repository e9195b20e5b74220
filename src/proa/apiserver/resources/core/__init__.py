"""Kinds of the core group (v1): one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.core import (
    binding,
    componentstatus,
    configmap,
    endpoints,
    event,
    limitrange,
    namespace,
    node,
    persistentvolume,
    persistentvolumeclaim,
    pod,
    podtemplate,
    replicationcontroller,
    resourcequota,
    secret,
    service,
    serviceaccount,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    binding.DEFINITION,
    componentstatus.DEFINITION,
    configmap.DEFINITION,
    endpoints.DEFINITION,
    event.DEFINITION,
    limitrange.DEFINITION,
    namespace.DEFINITION,
    node.DEFINITION,
    persistentvolume.DEFINITION,
    persistentvolumeclaim.DEFINITION,
    pod.DEFINITION,
    podtemplate.DEFINITION,
    replicationcontroller.DEFINITION,
    resourcequota.DEFINITION,
    secret.DEFINITION,
    service.DEFINITION,
    serviceaccount.DEFINITION,
)
