"""What looks at a write before it is validated: the plugins, in upstream's order, and the resources each concerns."""

from proa.apiserver.admission import (
    claim_resize,
    default_storage_class,
    default_toleration_seconds,
    namespace_lifecycle,
    priority,
    service_account,
    storage_protection,
    taint_nodes,
)
from proa.apiserver.registry.attributes import Admission
from proa.objects.resource import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Resource

PLUGINS: tuple[tuple[Admission, tuple[Resource, ...]], ...] = (
    (namespace_lifecycle.admit, ()),
    (service_account.admit, (PODS,)),
    (taint_nodes.admit, (NODES,)),
    (priority.admit, (PODS,)),
    (default_toleration_seconds.admit, (PODS,)),
    (storage_protection.admit, (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)),
    (default_storage_class.admit, (PERSISTENT_VOLUME_CLAIMS,)),
    (claim_resize.admit, (PERSISTENT_VOLUME_CLAIMS,)),
)
"""No resources: all of them."""
