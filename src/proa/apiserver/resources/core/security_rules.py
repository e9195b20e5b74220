"""Say what is wrong with the security contexts of a pod and of its containers.

Follows pkg/apis/core/validation validatePodSpecSecurityContext, ValidateSecurityContext and validateHostUsers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from proa.apiserver.resources.core.windows_rules import validate_windows_options
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    duplicate,
    forbidden,
    in_range,
    invalid,
    not_supported,
    required,
    too_long,
    validate_descending_path,
)

MAX_ID = 2**31 - 1
MAX_SYSCTL = 253
MAX_PROFILE_PATH = 4095
PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
POD_CHOICES = {
    "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "supplementalGroupsPolicy": ("Merge", "Strict"),
    "seLinuxChangePolicy": ("MountOption", "Recursive"),
}
PROC_MOUNTS = ("Default", "Unmasked")
_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"^({_SEGMENT}[\./])*{_SEGMENT}$"
IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def validate_pod_security(spec: Object, field: str) -> list[Cause]:
    """Check spec.securityContext."""
    context, path = spec.get("securityContext") or {}, f"{field}.securityContext"
    causes: list[Cause] = []
    if not context and not spec.get("shareProcessNamespace"):
        return causes
    causes += _validate_ids(context, ("fsGroup", "runAsUser", "runAsGroup"), path)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        causes += all_invalid(f"{path}.supplementalGroups[{index}]", group, in_range(group, 0, MAX_ID))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid(f"{path}.shareProcessNamespace", True, detail))
    if context.get("sysctls"):
        causes += _validate_sysctls(context["sysctls"], spec, f"{path}.sysctls")
    causes += _validate_profiles(context, path)
    for key, supported in POD_CHOICES.items():
        if context.get(key) is not None and context[key] not in supported:
            causes.append(not_supported(f"{path}.{key}", context[key], supported))
    return causes


def validate_host_users(spec: Object, field: str) -> list[Cause]:
    """Check that a pod in a user namespace is in its own network, process and IPC namespaces, too."""
    if spec.get("hostUsers") is not False:
        return []
    detail = "when `pod.Spec.HostUsers` is false"
    keys = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    return [forbidden(f"{field}.{shown}", detail) for key, shown in keys if spec.get(key)]


def _validate_ids(context: Object, keys: Sequence[str], path: str) -> list[Cause]:
    return [
        cause
        for key in keys
        if context.get(key) is not None
        for cause in all_invalid(f"{path}.{key}", context[key], in_range(context[key], 0, MAX_ID))
    ]


def _validate_profiles(context: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if "seccompProfile" in context:
        causes += _validate_seccomp(context["seccompProfile"] or {}, f"{path}.seccompProfile")
    if "windowsOptions" in context:
        causes += validate_windows_options(context["windowsOptions"] or {}, f"{path}.windowsOptions")
    if "appArmorProfile" in context:
        causes += _validate_apparmor(context["appArmorProfile"] or {}, f"{path}.appArmorProfile")
    return causes


def _validate_seccomp(profile: Object, path: str) -> list[Cause]:
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in PROFILE_TYPES:
        causes.append(not_supported(f"{path}.type", kind, PROFILE_TYPES))
    field = f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None:
            return [*causes, required(field, "must be set when seccomp type is Localhost")]
        return causes + validate_descending_path(local, field)
    if local is not None:
        shown = {"Type": kind, "LocalhostProfile": local}  # upstream's internal type has no JSON names
        causes.append(invalid(field, shown, "can only be set when seccomp type is Localhost"))
    return causes


def _validate_apparmor(profile: Object, path: str) -> list[Cause]:
    kind, local, field = (
        profile.get("type", ""),
        profile.get("localhostProfile"),
        f"{path}.localhostProfile",
    )
    if kind == "Localhost":
        if local is None or local == "":
            return [required(field, "must be set when AppArmor type is Localhost")]
        causes = (
            [invalid(field, local, "must not be padded with whitespace")] if local.strip() != local else []
        )
        too_much = len(local.encode()) > MAX_PROFILE_PATH
        return [*causes, too_long(field, MAX_PROFILE_PATH)] if too_much else causes
    if not kind:
        return [required(f"{path}.type", "type is required when appArmorProfile is set")]
    if kind not in PROFILE_TYPES:
        return [not_supported(f"{path}.type", kind, PROFILE_TYPES)]
    detail = "can only be set when AppArmor type is Localhost"
    return [] if local is None else [invalid(field, local, detail)]


def _validate_sysctls(sysctls: Sequence[Object], spec: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name, path = sysctl.get("name", ""), f"{field}[{index}].name"
        if not name:
            causes.append(required(path))
        elif len(name) > MAX_SYSCTL or not re.match(_SYSCTL[:-1] + r"\Z", name, re.ASCII):
            detail = f"must have at most {MAX_SYSCTL} characters and match regex {_SYSCTL}"
            causes.append(invalid(path, name, detail))
        elif name in seen:
            causes.append(duplicate(path, name))
        seen.add(name)
        causes += _validate_host_sysctl(name, spec, path)
    return causes


def _validate_host_sysctl(name: str, spec: Object, path: str) -> list[Cause]:
    """Check that the pod has the namespace in which the setting is its own."""
    dotted = _with_dots(name)
    if spec.get("hostNetwork") and dotted.startswith("net."):
        return [invalid(path, name, "may not be specified when 'hostNetwork' is true")]
    if spec.get("hostIPC") and dotted.startswith(IPC_SYSCTLS):
        return [invalid(path, name, "may not be specified when 'hostIPC' is true")]
    return []


def _with_dots(name: str) -> str:
    """Return the name with dots between its parts; where the first separator is a slash, dots mean slashes."""
    first = min((name.find(c) for c in "./" if c in name), default=-1)
    if first < 0 or name[first] == ".":
        return name
    return name.translate(str.maketrans("./", "/."))


def validate_container_security(context: Any, field: str, *, host_users: bool) -> list[Cause]:
    """Check a container's securityContext."""
    causes: list[Cause] = []
    if not context:
        return causes
    causes += _validate_ids(context, ("runAsUser", "runAsGroup"), field)
    mount = context.get("procMount")
    if mount is not None:
        if mount not in PROC_MOUNTS:
            causes.append(not_supported(f"{field}.procMount", mount, PROC_MOUNTS))
        elif mount == "Unmasked" and host_users:
            detail = "`hostUsers` must be false to use `Unmasked`"
            causes.append(invalid(f"{field}.procMount", mount, detail))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            causes.append(invalid(field, _as_upstream(context), detail))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(field, _as_upstream(context), detail))
    return causes + _validate_profiles(context, field)


def _as_upstream(context: Object) -> Object:
    """Upstream shows its internal type, whose fields have Go's names and are all there."""
    capabilities = context.get("capabilities")
    keys = ("privileged", "seLinuxOptions", "windowsOptions", "runAsUser", "runAsGroup", "runAsNonRoot",
            "readOnlyRootFilesystem", "allowPrivilegeEscalation", "procMount", "seccompProfile",
            "appArmorProfile")  # fmt: skip
    shown: Object = {
        {"seLinuxOptions": "SELinuxOptions"}.get(key, key[0].upper() + key[1:]): context.get(key)
        for key in keys
    }
    if capabilities is not None:
        capabilities = {"Add": capabilities.get("add"), "Drop": capabilities.get("drop")}
    return {**shown, "Capabilities": capabilities}
