"""Say what of a pod the Pod Security Standards forbid: one function a check (pod-security-admission/policy).

A check gets a pod's or pod template's metadata and spec, and returns None or why it refuses: a short reason, and the
detail that names containers and values, both in upstream's words. Which check counts when is in evaluation.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from proa.objects.quick_dataclass import dataclass

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a check refuses."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Json, Json], Refusal | None]

CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
SELINUX_TYPES_31 = SELINUX_TYPES | {"container_engine_t"}
SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)
SYSCTLS_27 = SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
SYSCTLS_29 = SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SYSCTLS_32 = SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER_ANNOTATION = "container.seccomp.security.alpha.kubernetes.io/"
PROFILES = ("RuntimeDefault", "Localhost")


# Baseline.


def check_app_armor(metadata: Json, spec: Json) -> Refusal | None:
    """The default AppArmor profile may not be switched off."""
    setters, values = _bad_setters(
        spec, lambda context: _outside(context.get("appArmorProfile"), "type", PROFILES)
    )
    annotations = [
        f'{key}="{value}"'
        for key, value in sorted((metadata.get("annotations") or {}).items())
        if key.startswith(APPARMOR_ANNOTATION)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    ]
    if annotations:
        values += annotations
        setters.append(_plural("annotation", annotations))
    if not setters:
        return None
    return Refusal(
        _plural("forbidden AppArmor profile", values),
        f"{' and '.join(setters)} must not set AppArmor profile type to {_quote(values)}",
    )


def check_capabilities(metadata: Json, spec: Json) -> Refusal | None:
    """Only capabilities of the default set may be added."""
    named, added = _bad_containers(spec, lambda c: _added_capabilities(c) - CAPABILITIES)
    if not named:
        return None
    detail = f"{_containers(named)} must not include {_quote(added)} in securityContext.capabilities.add"
    return Refusal("non-default capabilities", detail)


def check_host_namespaces(metadata: Json, spec: Json) -> Refusal | None:
    """The host's network, PID and IPC namespaces are not shared."""
    shared = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return Refusal("host namespaces", ", ".join(shared)) if shared else None


def check_host_path_volumes(metadata: Json, spec: Json) -> Refusal | None:
    """No volume is a path of the host's."""
    named = [v.get("name", "") for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return Refusal("hostPath volumes", f"{_plural('volume', named)} {_quote(named)}") if named else None


def check_host_ports(metadata: Json, spec: Json) -> Refusal | None:
    """No container takes a port of the host's."""
    named, ports = _bad_containers(
        spec, lambda c: {str(p["hostPort"]) for p in c.get("ports") or () if p.get("hostPort")}
    )
    if not named:
        return None
    return Refusal(
        "hostPort", f"{_containers(named)} {_uses(named)} {_plural('hostPort', ports)} {', '.join(ports)}"
    )


def check_probe_hosts(metadata: Json, spec: Json) -> Refusal | None:
    """Probes and hooks ask the pod itself, and no other host."""
    named, hosts = _bad_containers(spec, _probed_hosts)
    if not named:
        return None
    what = "probe or lifecycle host"
    containers = _containers(sorted(set(named)))
    return Refusal(what, f"{containers} {_uses(named)} {_plural(what, hosts)} {_quote(hosts)}")


def check_privileged(metadata: Json, spec: Json) -> Refusal | None:
    """No container is privileged."""
    named = [c["name"] for c in _all_containers(spec) if _context(c).get("privileged")]
    if not named:
        return None
    return Refusal("privileged", f"{_containers(named)} must not set securityContext.privileged=true")


def check_proc_mount(metadata: Json, spec: Json) -> Refusal | None:
    """/proc stays masked."""
    named, values = _bad_containers(spec, lambda c: {_context(c).get("procMount") or "Default"} - {"Default"})
    if not named:
        return None
    return Refusal(
        "procMount", f"{_containers(named)} must not set securityContext.procMount to {_quote(values)}"
    )


def check_selinux(metadata: Json, spec: Json, types: frozenset[str] = SELINUX_TYPES) -> Refusal | None:
    """SELinux types are those of containers; user and role stay."""
    options = [_context(owner).get("seLinuxOptions") or {} for owner in (spec, *_all_containers(spec))]

    def look(context: Json) -> set[str]:
        said = context.get("seLinuxOptions") or {}
        is_bad = said.get("type", "") not in types or said.get("user") or said.get("role")
        return {"bad"} if is_bad else set()

    setters, _ = _bad_setters(spec, look)
    if not setters:
        return None
    bad_types = sorted({o["type"] for o in options if o.get("type", "") not in types})
    told = [f"{_plural('type', bad_types)} {_quote(bad_types)}"] if bad_types else []
    told += [f"{key} may not be set" for key in ("user", "role") if any(o.get(key) for o in options)]
    detail = f"{' and '.join(setters)} set forbidden securityContext.seLinuxOptions: {'; '.join(told)}"
    return Refusal("seLinuxOptions", detail)


def check_selinux_31(metadata: Json, spec: Json) -> Refusal | None:
    """Since 1.31 container engines may have their type."""
    return check_selinux(metadata, spec, SELINUX_TYPES_31)


def check_seccomp_annotations(metadata: Json, spec: Json) -> Refusal | None:
    """Before 1.19: the annotations may not switch seccomp off."""
    keys = [
        SECCOMP_POD_ANNOTATION,
        *(SECCOMP_CONTAINER_ANNOTATION + c["name"] for c in _all_containers(spec)),
    ]
    annotations = metadata.get("annotations") or {}
    bad = {
        f'{key}="{annotations[key]}"'
        for key in keys
        if key in annotations and not _is_profile(annotations[key])
    }
    if not bad:
        return None
    return Refusal(
        "seccompProfile", f"forbidden {_plural('annotation', sorted(bad))} {', '.join(sorted(bad))}"
    )


def check_seccomp(metadata: Json, spec: Json) -> Refusal | None:
    """Since 1.19: the fields may not switch seccomp off."""
    setters, values = _bad_setters(
        spec, lambda context: _outside(context.get("seccompProfile"), "type", PROFILES)
    )
    if not setters:
        return None
    detail = f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to {_quote(values)}"
    return Refusal("seccompProfile", detail)


def sysctls(allowed: frozenset[str]) -> Check:
    """Return the check that lets only these sysctls be set."""

    def check_sysctls(metadata: Json, spec: Json) -> Refusal | None:
        named = [s.get("name", "") for s in _context(spec).get("sysctls") or ()]
        bad = [name for name in named if name not in allowed]
        return Refusal("forbidden sysctls", ", ".join(bad)) if bad else None

    return check_sysctls


def check_windows_host_process(metadata: Json, spec: Json) -> Refusal | None:
    """No Windows host processes."""

    def look(context: Json) -> set[str]:
        return {"true"} if (context.get("windowsOptions") or {}).get("hostProcess") else set()

    setters, _ = _bad_setters(spec, look)
    if not setters:
        return None
    detail = f"{' and '.join(setters)} must not set securityContext.windowsOptions.hostProcess=true"
    return Refusal("hostProcess", detail)


# Restricted.


def check_privilege_escalation(metadata: Json, spec: Json) -> Refusal | None:
    """No process gains more privileges than its parent."""
    named = [
        c["name"] for c in _all_containers(spec) if _context(c).get("allowPrivilegeEscalation") is not False
    ]
    if not named:
        return None
    detail = f"{_containers(named)} must set securityContext.allowPrivilegeEscalation=false"
    return Refusal("allowPrivilegeEscalation != false", detail)


def check_dropped_capabilities(metadata: Json, spec: Json) -> Refusal | None:
    """All capabilities are dropped; only NET_BIND_SERVICE may be added."""
    keeping = [
        c["name"]
        for c in _all_containers(spec)
        if "ALL" not in ((_context(c).get("capabilities") or {}).get("drop") or ())
    ]
    adding, added = _bad_containers(spec, lambda c: _added_capabilities(c) - {"NET_BIND_SERVICE"})
    told = []
    if keeping:
        told.append(f'{_containers(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        told.append(
            f"{_containers(adding)} must not include {_quote(added)} in securityContext.capabilities.add"
        )
    return Refusal("unrestricted capabilities", "; ".join(told)) if told else None


def check_volume_types(metadata: Json, spec: Json) -> Refusal | None:
    """Volumes come from the cluster or the pod, not from the host or a store that the pod names."""
    bad = [
        v for v in spec.get("volumes") or () if not VOLUMES & {k for k, said in v.items() if said is not None}
    ]
    if not bad:
        return None
    named = [v.get("name", "") for v in bad]
    types = sorted({next((k for k in v if k != "name"), "unknown") for v in bad})
    what = _plural("restricted volume type", types)
    detail = f"{_plural('volume', named)} {_quote(named)} {_uses(named)} {what} {_quote(types)}"
    return Refusal("restricted volume types", detail)


def check_non_root(metadata: Json, spec: Json) -> Refusal | None:
    """Containers say that they do not run as root."""
    reason = "runAsNonRoot != true"
    setters, _ = _bad_setters(
        spec, lambda context: {"false"} if context.get("runAsNonRoot") is False else set()
    )
    if setters:
        return Refusal(reason, f"{' and '.join(setters)} must not set securityContext.runAsNonRoot=false")
    if _context(spec).get("runAsNonRoot"):
        return None
    silent = [c["name"] for c in _all_containers(spec) if _context(c).get("runAsNonRoot") is None]
    if not silent:
        return None
    return Refusal(reason, f"pod or {_containers(silent)} must set securityContext.runAsNonRoot=true")


def check_user(metadata: Json, spec: Json) -> Refusal | None:
    """Nothing asks to be root."""
    setters, _ = _bad_setters(spec, lambda context: {"0"} if context.get("runAsUser") == 0 else set())
    return Refusal("runAsUser=0", f"{' and '.join(setters)} must not set runAsUser=0") if setters else None


def check_seccomp_is_set(metadata: Json, spec: Json) -> Refusal | None:
    """A seccomp profile is named."""
    refusal = check_seccomp(metadata, spec)
    if refusal is not None or _context(spec).get("seccompProfile"):
        return refusal
    silent = [c["name"] for c in _all_containers(spec) if not _context(c).get("seccompProfile")]
    if not silent:
        return None
    wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Refusal("seccompProfile", f"pod or {_containers(silent)} {wanted}")


# When a check does not concern a pod.


def unless_windows(check: Check) -> Check:
    """Return the check for pods that are not of Windows, where the field cannot be set."""
    return lambda metadata, spec: (
        None if (spec.get("os") or {}).get("name") == "windows" else check(metadata, spec)
    )


def unless_user_namespace(check: Check) -> Check:
    """Return the check for pods without a user namespace of their own, in which root is nobody on the host."""
    return lambda metadata, spec: None if spec.get("hostUsers") is False else check(metadata, spec)


# What the checks share.


def _all_containers(spec: Json) -> Iterator[Json]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _context(owner: Json) -> Json:
    return owner.get("securityContext") or {}


def _bad_containers(spec: Json, look: Callable[[Json], set[str]]) -> tuple[list[str], list[str]]:
    """Return the names of containers in which `look` finds something, and all that it finds, sorted."""
    found = [(c["name"], look(c)) for c in _all_containers(spec)]
    return [name for name, bad in found if bad], sorted(set().union(*(bad for _, bad in found)))


def _bad_setters(spec: Json, look: Callable[[Json], set[str]]) -> tuple[list[str], list[str]]:
    """Return who has a security context in which `look` finds something ("pod", "container "a""), and what it is."""
    of_pod = look(_context(spec))
    named, values = _bad_containers(spec, lambda c: look(_context(c)))
    setters = ["pod"] if of_pod else []
    if named:
        setters.append(_containers(named))
    return setters, sorted(of_pod | set(values))


def _outside(said: Json | None, key: str, allowed: Sequence[str]) -> set[str]:
    """Return the value where it is said and not allowed."""
    return set() if said is None or said.get(key, "") in allowed else {said.get(key, "")}


def _added_capabilities(container: Json) -> set[str]:
    return set((_context(container).get("capabilities") or {}).get("add") or ())


def _probed_hosts(container: Json) -> set[str]:
    lifecycle = container.get("lifecycle") or {}
    askers = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
    askers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
    actions = [(asker or {}).get(how) or {} for asker in askers for how in ("httpGet", "tcpSocket")]
    return {action["host"] for action in actions if action.get("host")}


def _is_profile(annotation: str) -> bool:
    return annotation in ("runtime/default", "docker/default") or annotation.startswith("localhost/")


def _plural(noun: str, items: Sequence[str]) -> str:
    return noun if len(items) == 1 else f"{noun}s"


def _uses(named: Sequence[str]) -> str:
    return "uses" if len(named) == 1 else "use"


def _quote(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _containers(named: Sequence[str]) -> str:
    return f"{_plural('container', named)} {_quote(named)}"
