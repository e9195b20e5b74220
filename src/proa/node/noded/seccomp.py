"""Refuse containers the system calls that no ordinary program needs and that have led out of containers before.

What is named here is answered with EPERM, all else is allowed: new namespaces and mounts (a user namespace of its own
gives root inside the capabilities to mount control groups and lift its limits), kernel keyrings (they are not
namespaced), bpf, perf, userfaultfd, io_uring, modules, kexec, and sockets of the hypervisor. The choice is Docker's
(moby profiles/seccomp/default_linux.go), as a list of what is refused. clone3 is answered with ENOSYS, so that libc
takes clone, whose flags can be seen. Encoding: linux/filter.h, linux/seccomp.h, linux/audit.h.
"""

from __future__ import annotations

import errno
import functools
import os
import struct

from proa.node.noded import linux

# (x86_64, aarch64) numbers, asm/unistd.h; -1 where the architecture has none.
_ALWAYS = {
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "nfsservctl": (180, 42), "uselib": (134, -1),
    "_sysctl": (156, -1), "swapon": (167, 224), "swapoff": (168, 225), "move_pages": (279, 239),
}  # fmt: skip
_UNLESS_CAPABLE = {
    "SYS_ADMIN": {
        "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
        "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
        "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
        "bpf": (321, 280), "perf_event_open": (298, 241), "quotactl": (179, 60), "quotactl_fd": (443, 443),
        "fanotify_init": (300, 262), "lookup_dcookie": (212, 18), "sethostname": (170, 161),
        "setdomainname": (171, 162),
    },
    "SYS_MODULE": {"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    "SYS_RAWIO": {"iopl": (172, -1), "ioperm": (173, -1)},
    "DAC_READ_SEARCH": {"open_by_handle_at": (304, 265)},
    "SYS_BOOT": {"reboot": (169, 142)},
    "SYS_PACCT": {"acct": (163, 89)},
    "SYS_TIME": {"settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266)},
}  # fmt: skip
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWUSER | _NEWPID | _NEWNET
_AF_VSOCK = 40
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def why_not() -> str:
    """Return why this machine's containers have no filter; "" when they have."""
    machine = os.uname().machine
    return "" if machine in _MACHINES else f"the numbers of the system calls of {machine} are not known"


def install(capabilities: frozenset[str]) -> None:
    """Filter the calls of this process, for good; it needs CAP_SYS_ADMIN in its user namespace, still."""
    if os.uname().machine in _MACHINES:
        linux.install_filter(make_filter(capabilities, os.uname().machine))


@functools.lru_cache(maxsize=16)
def make_filter(capabilities: frozenset[str], machine: str) -> bytes:
    """Return the BPF program for a process with these capabilities."""
    column, architecture = _MACHINES[machine]
    refused = dict(_ALWAYS)
    for capability, calls in _UNLESS_CAPABLE.items():
        if capability not in capabilities:
            refused |= calls
    refuse, unknown = (
        _instruction(_RETURN, _ERRNO | errno.EPERM),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    )
    allow = _instruction(_RETURN, _ALLOW)
    program = [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        *_if(_EQUAL, architecture, [], [unknown]),  # 32-bit programs have other numbers: they would pass by
        _instruction(_LOAD, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        program += _if(_AT_LEAST, _X32, [unknown], [])
    for numbers in refused.values():
        if numbers[column] >= 0:
            program += _if(_EQUAL, numbers[column], [refuse], [])
    argument = _instruction(_LOAD, _FIRST_ARGUMENT_OFFSET)
    program += _if(_EQUAL, _SOCKET[column], [argument, *_if(_EQUAL, _AF_VSOCK, [refuse], []), allow], [])
    if "SYS_ADMIN" not in capabilities:
        program += _if(_EQUAL, _CLONE3[column], [unknown], [])
        flags = _if(_ANY_BIT, _NAMESPACE_FLAGS, [refuse], [])
        program += _if(_EQUAL, _CLONE[column], [argument, *flags, allow], [])
    return b"".join([*program, allow])


def _if(test: int, value: int, then: list[bytes], otherwise: list[bytes]) -> list[bytes]:
    """Return the test and the one branch that is given; without the test's answer for it, go on behind it."""
    branch = then or otherwise
    skips = (0, len(branch)) if then else (len(branch), 0)
    return [_instruction(test, value, *skips), *branch]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
