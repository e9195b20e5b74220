"""Let steps give files to users that are not there, where a build has one user only: it succeeds, and changes nothing.

Package managers chown what they install, and drop root for a download. With one user (no subordinate ids) the kernel
refuses both. These calls are answered as if they had worked; every file then belongs to root, in the image too. The idea
is Charliecloud's (doc/ch-image.rst, `--force=seccomp`). apt looks whether it really changed its user: APT_CONFIG tells it
not to try.
"""

from __future__ import annotations

import os
import struct

from proa.node.noded import linux

APT_CONFIG = 'APT::Sandbox::User "root";\n'
# (x86_64, aarch64) numbers, asm/unistd.h; -1 where the architecture has none.
_CALLS = {
    "chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "setgroups": (116, 159),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
}  # fmt: skip
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _SUCCESS = 0x7FFF0000, 0x00050000


def install() -> None:
    """Answer the calls of this process and its children so, for good; it needs CAP_SYS_ADMIN in its user namespace."""
    if os.uname().machine in _MACHINES:
        linux.install_filter(make_filter(os.uname().machine))


def make_filter(machine: str) -> bytes:
    """Return the BPF program."""
    column, architecture = _MACHINES[machine]
    numbers = [pair[column] for pair in _CALLS.values() if pair[column] >= 0]
    program = [
        _instruction(_LOAD, 4),
        _instruction(_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _ALLOW),
    ]
    program.append(_instruction(_LOAD, 0))
    for number in numbers:
        program += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, _SUCCESS)]
    return b"".join([*program, _instruction(_RETURN, _ALLOW)])


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
