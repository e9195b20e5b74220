"""Become Envoy in the node's network, with nothing that it does not need: run as a program, with what to do as JSON.

It joins namespaces, then gives up every privilege, then executes the binary, which it opened before. Sockets are
handed to Envoy (handover.py), so it needs no capability to listen. Standard library only.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS = 0x00020000
_MS_REC, _MS_PRIVATE, _MS_BIND = 16384, 1 << 18, 4096
_PARENT_DEATH_SIGNAL, _DROP_FROM_BOUNDING_SET, _NO_NEW_PRIVILEGES = 1, 24, 38
_SET_SECCOMP, _FILTER = 22, 2
_MACHINES = {"x86_64": (0xC000003E, 157), "aarch64": (0xC00000B7, 167)}
"""Of each machine the kernel's name for it (AUDIT_ARCH_*), and the number of prctl."""
_LAST_CAPABILITY = 63
_PLACES = ("/mnt", "/srv", "/media", "/opt")
"""Of these one is used, in a mount namespace of our own, to show the folder to a user who cannot reach it otherwise."""


def main() -> None:
    """Do as the JSON in the first argument says: parent, folder, namespaces, uid (-1 stay), argv."""
    order = json.loads(sys.argv[1])
    os.umask(0o077)
    binary = os.open(order["argv"][0], os.O_PATH | os.O_CLOEXEC)
    os.chdir(order["folder"])
    for path in order["namespaces"]:
        _join(path)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if order["uid"] >= 0:
        _show_folder()
    _drop_privileges(order["uid"])
    _end_with_parent(order["parent"])
    os.execve(binary, order["argv"], {"PATH": "/usr/bin:/bin"})  # noqa: S606


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _join(path: str) -> None:
    """Join a namespace, unless this process is in it."""
    own = os.stat(f"/proc/self/ns/{os.path.basename(path)}")
    if os.path.samestat(own, os.stat(path)):
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    _check(_LIBC.setns(fd, 0), path)
    os.close(fd)


def _show_folder() -> None:
    """Have the working folder where any user reaches it, as seen by this process alone."""
    _check(_LIBC.unshare(_NEW_MOUNTS), "unshare")
    _check(_LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount /")
    place = next(path for path in _PLACES if os.path.isdir(path))
    _check(_LIBC.mount(os.getcwdb(), place.encode(), None, _MS_BIND, None), f"mount {place}")
    os.chdir(place)


def _end_with_parent(pid: int) -> None:
    """Have the kernel kill this process when its parent ends, however that is; changes of user would undo it."""
    _check(_LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "parent's death")
    if os.getppid() != pid:
        sys.exit("the server has ended")
    _keep_parents_death()


def _keep_parents_death() -> None:
    """Have Envoy's own wish for a milder signal do nothing: it would take ten seconds to end without us.

    A seccomp filter answers prctl(PR_SET_PDEATHSIG) with success, and lets everything else pass.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        return
    arch, prctl = machine
    load, equal, ret = 0x20, 0x15, 0x06
    allow, succeed = 0x7FFF0000, 0x00050000
    program = [
        *((load, 0, 0, 4), (equal, 0, 5, arch)),
        *((load, 0, 0, 0), (equal, 0, 3, prctl)),
        *((load, 0, 0, 16), (equal, 0, 1, _PARENT_DEATH_SIGNAL)),
        *((ret, 0, 0, succeed), (ret, 0, 0, allow)),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(code)))
    _check(_LIBC.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(header), 0, 0), "seccomp")


def _drop_privileges(uid: int) -> None:
    """Become `uid` (-1: stay), without capabilities and with no way to get any."""
    for capability in range(_LAST_CAPABILITY + 1):
        _LIBC.prctl(
            _DROP_FROM_BOUNDING_SET, capability, 0, 0, 0
        )  # it fails for those that this kernel has not
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _check(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")


if __name__ == "__main__":
    main()
