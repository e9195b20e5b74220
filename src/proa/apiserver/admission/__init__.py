"""What looks at a write before it is stored, in upstream's order: pkg/kubeapiserver/options/plugins.go."""

from proa.apiserver.admission import (
    certificate_requests,
    claim_resize,
    default_ingress_class,
    default_storage_class,
    default_toleration_seconds,
    device_admin_access,
    limit_ranger,
    namespace_lifecycle,
    node_restriction,
    pod_topology_labels,
    policies,
    policy_parameters,
    priority,
    resource_quota,
    role_escalation,
    runtime_class,
    service_account,
    storage_protection,
    taint_nodes,
    webhooks,
)
from proa.apiserver.admission.pod_security import plugin as pod_security
from proa.apiserver.registry.attributes import Plugin
from proa.objects.resource import (
    CERTIFICATE_SIGNING_REQUESTS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    INGRESSES,
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
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
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
    Plugin(
        "LimitRanger", limit_ranger.admit, limit_ranger.validate, resources=(PODS, PERSISTENT_VOLUME_CLAIMS)
    ),
    Plugin("ServiceAccount", service_account.admit, resources=(PODS,)),
    Plugin("NodeRestriction", node_restriction.admit),
    Plugin("TaintNodesByCondition", taint_nodes.admit, resources=(NODES,)),
    Plugin("PodSecurity", validate=pod_security.validate, resources=(NAMESPACES, PODS, *POD_MAKERS)),
    Plugin("Priority", priority.admit, priority.validate, (PODS, PRIORITY_CLASSES)),
    Plugin("DefaultTolerationSeconds", default_toleration_seconds.admit, resources=(PODS,)),
    Plugin("DefaultStorageClass", default_storage_class.admit, resources=(PERSISTENT_VOLUME_CLAIMS,)),
    Plugin(
        "StorageObjectInUseProtection",
        storage_protection.admit,
        resources=(PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES),
    ),
    Plugin("PersistentVolumeClaimResize", claim_resize.admit, resources=(PERSISTENT_VOLUME_CLAIMS,)),
    Plugin("RuntimeClass", runtime_class.admit, runtime_class.validate, resources=(PODS,)),
    Plugin(
        "CertificateApproval",
        validate=certificate_requests.check_approval,
        resources=(CERTIFICATE_SIGNING_REQUESTS,),
    ),
    Plugin(
        "CertificateSigning",
        validate=certificate_requests.check_signing,
        resources=(CERTIFICATE_SIGNING_REQUESTS,),
    ),
    Plugin(
        "CertificateSubjectRestriction",
        validate=certificate_requests.check_subject,
        resources=(CERTIFICATE_SIGNING_REQUESTS,),
    ),
    Plugin("DefaultIngressClass", default_ingress_class.admit, resources=(INGRESSES,)),
    Plugin("PodTopologyLabels", pod_topology_labels.admit, resources=(PODS,)),
    Plugin("MutatingAdmissionPolicy", policies.admit),
    Plugin("MutatingAdmissionWebhook", webhooks.admit),
    Plugin(
        "CertificateRequester",
        certificate_requests.name_requester,
        resources=(CERTIFICATE_SIGNING_REQUESTS,),
    ),
    Plugin("PolicyParameters", validate=policy_parameters.validate, resources=policy_parameters.RESOURCES),
    Plugin("RoleEscalation", validate=role_escalation.validate, resources=role_escalation.RESOURCES),
    Plugin(
        "DeviceAdminAccess",
        validate=device_admin_access.validate,
        resources=(RESOURCE_CLAIMS, RESOURCE_CLAIM_TEMPLATES),
    ),
    Plugin("ValidatingAdmissionPolicy", validate=policies.validate),
    Plugin("ValidatingAdmissionWebhook", validate=webhooks.validate),
    Plugin("ResourceQuota", validate=resource_quota.validate),
)
