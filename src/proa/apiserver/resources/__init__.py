"""The kinds that the API server serves: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.apps import deployment, replicaset
from proa.apiserver.resources.batch import job
from proa.apiserver.resources.coordination import lease
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
from proa.apiserver.resources.discovery import endpointslice
from proa.apiserver.resources.storage import storageclass

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    configmap.DEFINITION,
    endpoints.DEFINITION,
    event.DEFINITION,
    namespace.DEFINITION,
    node.DEFINITION,
    persistentvolumeclaim.DEFINITION,
    persistentvolume.DEFINITION,
    pod.DEFINITION,
    secret.DEFINITION,
    serviceaccount.DEFINITION,
    service.DEFINITION,
    deployment.DEFINITION,
    replicaset.DEFINITION,
    job.DEFINITION,
    lease.DEFINITION,
    endpointslice.DEFINITION,
    storageclass.DEFINITION,
)
