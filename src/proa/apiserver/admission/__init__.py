"""What looks at a write before it is stored, in upstream's order: pkg/kubeapiserver/options/plugins.go."""

from proa.apiserver.admission import (
    claim_resize,
    default_storage_class,
    default_toleration_seconds,
    namespace_lifecycle,
    priority,
    role_escalation,
    service_account,
    storage_protection,
    taint_nodes,
    webhooks,
)
from proa.apiserver.admission.pod_security import plugin as pod_security
from proa.apiserver.registry.attributes import Plugin
from proa.objects.resource import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_TEMPLATES,
    PODS,
    PRIORITY_CLASSES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)

POD_MAKERS = (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    POD_TEMPLATES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
"""Kinds with a pod template."""

PLUGINS: tuple[Plugin, ...] = (
    Plugin("NamespaceLifecycle", namespace_lifecycle.admit),
    Plugin("ServiceAccount", service_account.admit, resources=(PODS,)),
    Plugin("TaintNodesByCondition", taint_nodes.admit, resources=(NODES,)),
    Plugin("Priority", priority.admit, priority.validate, (PODS, PRIORITY_CLASSES)),
    Plugin("DefaultTolerationSeconds", default_toleration_seconds.admit, resources=(PODS,)),
    Plugin(
        "StorageObjectInUseProtection",
        storage_protection.admit,
        resources=(PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES),
    ),
    Plugin("DefaultStorageClass", default_storage_class.admit, resources=(PERSISTENT_VOLUME_CLAIMS,)),
    Plugin("PersistentVolumeClaimResize", claim_resize.admit, resources=(PERSISTENT_VOLUME_CLAIMS,)),
    Plugin("MutatingAdmissionWebhook", webhooks.admit),
    Plugin("PodSecurity", validate=pod_security.validate, resources=(NAMESPACES, PODS, *POD_MAKERS)),
    Plugin("RoleEscalation", validate=role_escalation.validate, resources=role_escalation.RESOURCES),
    Plugin("ValidatingAdmissionWebhook", validate=webhooks.validate),
)
