"""What looks at a write before it is validated: the plugins, in upstream's order."""

from proa.apiserver.admission import (
    default_storage_class,
    default_toleration_seconds,
    namespace_lifecycle,
    priority,
    service_account,
    storage_protection,
    taint_nodes,
)

PLUGINS = (
    namespace_lifecycle.admit,
    service_account.admit,
    taint_nodes.admit,
    priority.admit,
    default_toleration_seconds.admit,
    storage_protection.admit,
    default_storage_class.admit,
)
