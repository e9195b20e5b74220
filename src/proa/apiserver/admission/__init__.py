"""What looks at a write before it is stored, in upstream's order: pkg/kubeapiserver/options/plugins.go."""

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
from proa.apiserver.registry.attributes import Plugin
from proa.objects.resource import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS

PLUGINS: tuple[Plugin, ...] = (
    Plugin("NamespaceLifecycle", namespace_lifecycle.admit),
    Plugin("ServiceAccount", service_account.admit, resources=(PODS,)),
    Plugin("TaintNodesByCondition", taint_nodes.admit, resources=(NODES,)),
    Plugin("Priority", priority.admit, resources=(PODS,)),
    Plugin("DefaultTolerationSeconds", default_toleration_seconds.admit, resources=(PODS,)),
    Plugin(
        "StorageObjectInUseProtection",
        storage_protection.admit,
        resources=(PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES),
    ),
    Plugin("DefaultStorageClass", default_storage_class.admit, resources=(PERSISTENT_VOLUME_CLAIMS,)),
    Plugin("PersistentVolumeClaimResize", claim_resize.admit, resources=(PERSISTENT_VOLUME_CLAIMS,)),
)
