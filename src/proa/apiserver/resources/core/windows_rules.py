"""Say what is wrong with what a pod says of its operating system, Windows above all.

Follows pkg/apis/core/validation validateOS, validateLinux, validateWindows, validateWindowsHostProcessPod and
validateWindowsSecurityContextOptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, dns_subdomain, forbidden, invalid, not_supported, required

SYSTEMS = ("linux", "windows")
CONTEXT = "securityContext."
LINUX_POD_FIELDS = (
    "securityContext.appArmorProfile", "securityContext.seLinuxOptions", "hostUsers", "hostPID", "hostIPC",
    "securityContext.seccompProfile", "securityContext.fsGroup", "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls", "shareProcessNamespace", "securityContext.runAsUser", "securityContext.runAsGroup",
    "securityContext.supplementalGroups", "securityContext.supplementalGroupsPolicy",
    "securityContext.seLinuxChangePolicy",
)  # fmt: skip
FALSE_COUNTS = ("hostUsers", "shareProcessNamespace")
"""Fields of the pod that are set even when they are false."""
LINUX_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
LISTS = ("initContainers", "containers", "ephemeralContainers")
NOT_ON_LINUX = "windows options cannot be set for a linux pod"
NOT_ON_WINDOWS = "cannot be set for a windows pod"
MAX_CREDENTIALS_KIB, MAX_DOMAIN, MAX_USER = 64, 256, 104
_NET_BIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}\Z')
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')


def visit_containers(spec: Object, field: str) -> Iterator[tuple[Object, str]]:
    """Yield every container with its path, as upstream's VisitContainersWithPath orders them."""
    for key in LISTS:
        for index, container in enumerate(spec.get(key) or ()):
            yield container, f"{field}.{key}[{index}]"


def validate_os(spec: Object, field: str) -> list[Cause]:
    """Check spec.os, and that the pod has nothing that this system has not."""
    name = (spec.get("os") or {}).get("name", "")
    if not name:
        return [required(f"{field}.os.name", "cannot be empty")]
    if name not in SYSTEMS:
        return [not_supported(f"{field}.os", name, SYSTEMS)]
    return _validate_linux(spec, field) if name == "linux" else _validate_windows(spec, field)


def _validate_linux(spec: Object, field: str) -> list[Cause]:
    holders = [(spec, field), *visit_containers(spec, field)]
    return [
        forbidden(f"{path}.securityContext.windowsOptions", NOT_ON_LINUX)
        for holder, path in holders
        if (holder.get("securityContext") or {}).get("windowsOptions") is not None
    ]


def _validate_windows(spec: Object, field: str) -> list[Cause]:
    context, found = spec.get("securityContext") or {}, list[str]()
    for name in LINUX_POD_FIELDS:
        holder = context if name.startswith(CONTEXT) else spec
        value = holder.get(name.removeprefix(CONTEXT))
        if value is not None and (value is not False or name in FALSE_COUNTS):
            found.append(f"{field}.{name}")
    for container, path in visit_containers(spec, field):
        context = container.get("securityContext") or {}
        found += [f"{path}.securityContext.{key}" for key in LINUX_CONTEXT if context.get(key) is not None]
    return [forbidden(path, NOT_ON_WINDOWS) for path in found]


def validate_host_process(spec: Object, field: str) -> list[Cause]:
    """Check that all containers of a pod are HostProcess containers of Windows, or none."""
    whole = _host_process(spec)
    causes: list[Cause] = []
    is_host_process: list[bool] = []
    for container, path in visit_containers(spec, field):
        own = _host_process(container)
        if whole is not None and own is not None and whole != own:
            detail = (
                f"pod hostProcess value must be identical if both are specified, was {str(whole).lower()}"
            )
            causes.append(invalid(f"{path}.securityContext.windowsOptions.hostProcess", own, detail))
        is_host_process.append(bool(whole if own is None else own))
    if not any(is_host_process):
        return causes
    if not all(is_host_process):
        detail = (
            "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        )
        causes.append(invalid(field, "", detail))
    if not spec.get("hostNetwork"):
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        causes.append(invalid(f"{field}.hostNetwork", False, detail))
    return causes


def _host_process(holder: Object) -> bool | None:
    options = (holder.get("securityContext") or {}).get("windowsOptions") or {}
    value: bool | None = options.get("hostProcess")
    return value


def validate_windows_options(options: Object, path: str) -> list[Cause]:
    """Check the credentials and the user's name."""
    causes: list[Cause] = []
    name, credentials = options.get("gmsaCredentialSpecName"), options.get("gmsaCredentialSpec")
    if name is not None:
        causes += all_invalid(f"{path}.gmsaCredentialSpecName", name, dns_subdomain(name))
    if credentials == "":
        detail = "gmsaCredentialSpec cannot be an empty string"
        causes.append(invalid(f"{path}.gmsaCredentialSpec", credentials, detail))
    elif credentials is not None and len(credentials.encode()) > MAX_CREDENTIALS_KIB * 1024:
        detail = f"gmsaCredentialSpec size must be under {MAX_CREDENTIALS_KIB} KiB"
        causes.append(invalid(f"{path}.gmsaCredentialSpec", credentials, detail))
    user = options.get("runAsUserName")
    return causes if user is None else causes + all_invalid(f"{path}.runAsUserName", user, user_name(user))


def user_name(value: str) -> list[str]:
    """A Windows user, with a domain and a backslash before it or without."""
    if not value:
        return ["runAsUserName cannot be an empty string"]
    if _CONTROL.search(value):
        return ["runAsUserName cannot contain control characters"]
    *domains, user = value.split("\\")
    if len(domains) > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    problems = _domain_problems(domains[0]) if domains else []
    if not user:
        problems.append("runAsUserName's User cannot be empty")
    elif len(user.encode()) > MAX_USER:
        problems.append(f"runAsUserName's User length must not be longer than {MAX_USER} characters")
    if user and not user.strip(". "):
        problems.append("runAsUserName's User cannot contain only periods or spaces")
    if _BAD_USER.search(user):
        problems.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return problems


def _domain_problems(domain: str) -> list[str]:
    problems: list[str] = []
    if len(domain.encode()) >= MAX_DOMAIN:
        problems.append(f"runAsUserName's Domain length must be under {MAX_DOMAIN} characters")
    if not _NET_BIOS.match(domain) and not _DNS_NAME.match(domain):
        problems.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    return problems
