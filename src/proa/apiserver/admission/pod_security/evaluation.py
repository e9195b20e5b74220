"""List which check counts at which level since which version, and put a pod through them (policy/registry.go)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from proa.apiserver.admission.pod_security import checks
from proa.apiserver.admission.pod_security.checks import Check, Json, Refusal
from proa.apiserver.admission.pod_security.levels import LevelVersion

NEWEST = 36
"""The minor version that "latest" means: this API's."""

BASELINE: dict[str, Sequence[tuple[int, Check]]] = {
    "appArmorProfile": [(0, checks.check_app_armor)],
    "capabilities_baseline": [(0, checks.check_capabilities)],
    "hostNamespaces": [(0, checks.check_host_namespaces)],
    "hostPathVolumes": [(0, checks.check_host_path_volumes)],
    "hostPorts": [(0, checks.check_host_ports)],
    "hostProbesAndHostLifecycle": [(34, checks.check_probe_hosts)],
    "privileged": [(0, checks.check_privileged)],
    "procMount": [(0, checks.check_proc_mount), (35, checks.unless_user_namespace(checks.check_proc_mount))],
    "seLinuxOptions": [(0, checks.check_selinux), (31, checks.check_selinux_31)],
    "seccompProfile_baseline": [(0, checks.check_seccomp_annotations), (19, checks.check_seccomp)],
    "sysctls": [
        (0, checks.sysctls(checks.SYSCTLS)),
        (27, checks.sysctls(checks.SYSCTLS_27)),
        (29, checks.sysctls(checks.SYSCTLS_29)),
        (32, checks.sysctls(checks.SYSCTLS_32)),
    ],
    "windowsHostProcess": [(0, checks.check_windows_host_process)],
}
"""By upstream's id, in whose order refusals are told: (minor version since when, check), oldest first."""

RESTRICTED: dict[str, Sequence[tuple[int, Check]]] = {
    "allowPrivilegeEscalation": [
        (8, checks.check_privilege_escalation),
        (25, checks.unless_windows(checks.check_privilege_escalation)),
    ],
    "capabilities_restricted": [
        (22, checks.check_dropped_capabilities),
        (25, checks.unless_windows(checks.check_dropped_capabilities)),
    ],
    "procMount_restricted": [(35, checks.check_proc_mount)],
    "restrictedVolumes": [(0, checks.check_volume_types)],
    "runAsNonRoot": [(0, checks.check_non_root), (35, checks.unless_user_namespace(checks.check_non_root))],
    "runAsUser": [(23, checks.check_user), (35, checks.unless_user_namespace(checks.check_user))],
    "seccompProfile_restricted": [
        (19, checks.check_seccomp_is_set),
        (25, checks.unless_windows(checks.check_seccomp_is_set)),
    ],
}

OVERRIDES = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
"""A restricted check that says all that a baseline check says."""


def evaluate(policy: LevelVersion, metadata: Json, spec: Json) -> list[Refusal]:
    """Return what the policy forbids of a pod with this metadata and spec, in order."""
    if policy.level == "privileged":
        return []
    found = (check(metadata, spec) for check in _checks(policy.level, min(policy.minor, NEWEST)))
    return [refusal for refusal in found if refusal is not None]


@cache
def _checks(level: str, minor: int) -> tuple[Check, ...]:
    baseline, restricted = _as_of(BASELINE, minor), _as_of(RESTRICTED, minor)
    if level == "baseline":
        return tuple(baseline.values())
    overridden = {OVERRIDES[name] for name in restricted if name in OVERRIDES}
    return (*(check for name, check in baseline.items() if name not in overridden), *restricted.values())


def _as_of(table: dict[str, Sequence[tuple[int, Check]]], minor: int) -> dict[str, Check]:
    counting = {name: [check for since, check in found if since <= minor] for name, found in table.items()}
    return {name: found[-1] for name, found in counting.items() if found}
