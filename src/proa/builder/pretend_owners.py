"""Let steps give files to users that are not there, where a build has one user only: it succeeds, and changes nothing.

Package managers chown what they install, and drop root for a download. With one user (no subordinate ids) the
kernel refuses both. These calls are answered as if they had worked; every file then belongs to root, in the image
too. The idea is Charliecloud's (doc/ch-image.rst, `--force=seccomp`). apt looks whether it really changed its user:
APT_CONFIG tells it not to try.
"""

from __future__ import annotations

import os

from proa.node.noded import seccomp

APT_CONFIG = 'APT::Sandbox::User "root";\n'
_CALLS = (
    "chown", "fchown", "lchown", "fchownat", "setgroups", "setuid", "setgid", "setreuid", "setregid", "setresuid",
    "setresgid", "setfsuid", "setfsgid",
)  # fmt: skip


def install() -> None:
    """Answer the calls of this process and its children so, for good; it needs CAP_SYS_ADMIN in its user namespace."""
    if not seccomp.why_not():
        seccomp.install(make_filter())


def make_filter() -> bytes:
    """Return the BPF program: an error whose number is 0 is success."""
    succeed = {"names": list(_CALLS), "action": "SCMP_ACT_ERRNO", "errnoRet": 0}
    return seccomp.compile_profile(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [succeed]}, os.uname().machine
    )
