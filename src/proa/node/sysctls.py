"""Let a pod set only those sysctls that are safe: namespaced, and no way to harm the node or other pods.

Follows pkg/kubelet/sysctl/safe_sysctls.go and allowlist.go. There is no setting that allows more.
"""

from __future__ import annotations

from proa.client.protocol import Object

FORBIDDEN_REASON = "SysctlForbidden"
SAFE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
})  # fmt: skip


def pod_sysctls(pod: Object) -> dict[str, str]:
    """Return the sysctls that the pod asks for, by dotted name."""
    asked = (pod["spec"].get("securityContext") or {}).get("sysctls") or []
    return {dotted(sysctl["name"]): str(sysctl["value"]) for sysctl in asked}


def why_forbidden(pod: Object) -> str:
    """Return why the pod may not run with its sysctls, in the kubelet's words; "" when it may."""
    for name in pod_sysctls(pod):
        if name not in SAFE_SYSCTLS:
            return f'forbidden sysctl: "{name}" not allowlisted'
        if name.startswith("net.") and pod["spec"].get("hostNetwork"):
            return f'forbidden sysctl: "{name}" not allowed with host net enabled'
        if name.startswith("kernel.") and pod["spec"].get("hostIPC"):
            return f'forbidden sysctl: "{name}" not allowed with host ipc enabled'
    return ""


def dotted(name: str) -> str:
    """Return the name with dots between its parts; a slash first means that dots belong to a part."""
    separators = [mark for mark in name if mark in "./"]
    if separators[:1] != ["/"]:
        return name
    return name.translate(str.maketrans("./", "/."))
