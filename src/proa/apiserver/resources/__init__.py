"""The kinds that the API server serves: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.core import configmap, namespace, pod

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    configmap.DEFINITION,
    namespace.DEFINITION,
    pod.DEFINITION,
)
