"""Describe a container as the OCI runtime specification does (config.json), for runtimes of others. Pure.

Follows containerd's internal/cri/server (container_create_linux.go) and pkg/oci; runc 1.1 and crun know spec 1.0.2.
"""

from __future__ import annotations

from proa.node.noded.privileges import CAPABILITIES
from proa.node.noded.rootfs import MASKED_PROC, READONLY_PROC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from proa.node.noded.child import Process
    from proa.node.noded.rootfs import View

    Record = dict[str, Any]

VERSION = "1.0.2"
_QUIET = ["nosuid", "noexec", "nodev"]
_CPU_PERIOD = 100_000


def make_spec(
    process: Process,
    view: View,
    namespaces: Mapping[str, str],
    *,
    root: str,
    staged: Mapping[int, str],
    cgroup: str,
    resources: Record,
    devices: Sequence[Record],
    seccomp: Record | None,
    open_files: tuple[int, int],
    available: int,
) -> Record:
    """Return config.json.

    `namespaces` maps OCI's types to paths, "" for a new one; `staged` says where the pod's mounts (by their place in
    `view.mounts`) are to be taken from; `devices` are {"path", "type", "major", "minor"}.
    """
    shared = any(mount.get("propagation") == "rshared" for mount in view.mounts)
    linux: Record = {
        "namespaces": [
            {"type": kind, **({"path": path} if path else {})} for kind, path in namespaces.items()
        ],
        "cgroupsPath": cgroup,
        "resources": _resources(resources, devices, every_device=view.privileged),
        "devices": [{**device, "fileMode": 0o666} for device in devices],
        "rootfsPropagation": "rshared" if shared else "rslave",
    }
    if view.masked:
        linux |= {"maskedPaths": [*MASKED_PROC], "readonlyPaths": [*READONLY_PROC]}
    if seccomp is not None:
        linux["seccomp"] = seccomp
    return {
        "ociVersion": VERSION,
        "process": make_process(process, open_files, available),
        "root": {"path": root, "readonly": view.read_only},
        "mounts": _mounts(view, staged),
        "linux": linux,
    }


def make_process(process: Process, open_files: tuple[int, int], available: int) -> Record:
    """Return a process' part of config.json, which an exec is told alone.

    `available` is the bit mask of the node's own capabilities: root may lack some, inside somebody's container.
    """
    identity = process.identity
    held = {name for bit, name in enumerate(CAPABILITIES) if available >> bit & 1}
    names = [f"CAP_{name}" for name in CAPABILITIES if name in identity.capabilities & held]
    soft, hard = open_files
    found: Record = {
        "terminal": process.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
        "args": process.argv,
        "env": [f"{name}={value}" for name, value in process.env.items()],
        "cwd": process.working_dir or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), names),
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}],
        "noNewPrivileges": identity.no_new_privileges,
        "oomScoreAdj": process.oom_score_adj,
    }
    if process.apparmor:
        found["apparmorProfile"] = process.apparmor.removeprefix("localhost/")
    return found


def _mounts(view: View, staged: Mapping[int, str]) -> list[Record]:
    read = [] if view.privileged else ["ro"]
    mounts = [
        _mount("/proc", "proc", "proc", _QUIET),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", _QUIET),
        _mount("/sys", "sysfs", "sysfs", [*_QUIET, *read]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*_QUIET, "relatime", *read]),
        _mount("/dev/shm", "bind", view.shm, ["rbind"]),  # noqa: S108
    ]
    mounts += [
        _mount(inside, "bind", outside, ["rbind", "rprivate", "nodev"])
        for inside, outside in view.files.items()
    ]
    for place, mount in enumerate(view.mounts):
        if mount.get("is_device"):
            continue
        options = [
            "rbind",
            mount.get("propagation") or "private",
            "ro" if mount.get("read_only") else "rw",
            "nodev",
        ]
        options[1] = {"private": "rprivate"}.get(options[1], options[1])
        mounts.append(_mount(mount["container_path"], "bind", staged.get(place, mount["host_path"]), options))
    return mounts


def _mount(destination: str, kind: str, source: str, options: list[str]) -> Record:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _resources(resources: Record, devices: Sequence[Record], *, every_device: bool) -> Record:
    rules: list[Record] = [{"allow": every_device, "access": "rwm"}]
    for device in () if every_device else devices:
        numbers = {"type": device["type"], "major": device["major"], "minor": device["minor"]}
        rules.append({"allow": True, **numbers, "access": "rwm"})
    found: Record = {"devices": rules}
    cpu: Record = {}
    if resources.get("cpu_shares"):
        cpu["shares"] = max(2, resources["cpu_shares"])
    if resources.get("cpu_quota_millis"):
        cpu |= {
            "quota": max(1000, resources["cpu_quota_millis"] * _CPU_PERIOD // 1000),
            "period": _CPU_PERIOD,
        }
    if cpu:
        found["cpu"] = cpu
    if resources.get("memory_limit_bytes"):
        found["memory"] = {"limit": resources["memory_limit_bytes"]}
    if resources.get("pids_limit"):
        found["pids"] = {"limit": resources["pids_limit"]}
    pages = resources.get("hugepage_limits") or {}
    if pages:
        found["hugepageLimits"] = [{"pageSize": size, "limit": limit} for size, limit in pages.items()]
    return found
