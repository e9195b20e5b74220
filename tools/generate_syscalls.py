"""Write src/proa/node/noded/syscalls.py: the numbers of system calls, by name.

Reads the kernel's own headers (Debian: linux-libc-dev) and adds what is newer than they are: since 5.1 a new call has
one number on every architecture, but for those named in _NEWER_X86_64. Run: python3 tools/generate_syscalls.py
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/proa/node/noded/syscalls.py"
X86_64 = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
GENERIC = Path("/usr/include/asm-generic/unistd.h")
_DEFINED = re.compile(r"#\s*define __NR_(\w+)\s+(\d+)")
_NEWER = """
    set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount
    listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat
    removexattrat open_tree_attr file_getattr file_setattr
"""
_FIRST_NEWER = 450
_NEWER_X86_64 = {"uretprobe": 335}


def main() -> None:
    """Write the table."""
    newer = {name: _FIRST_NEWER + place for place, name in enumerate(_NEWER.split())}
    x86_64 = _numbers(X86_64.read_text()) | newer | _NEWER_X86_64
    aarch64 = _numbers(_aarch64()) | newer
    lines = [f"{name} {x86_64.get(name, -1)} {aarch64.get(name, -1)}" for name in sorted({*x86_64, *aarch64})]
    TARGET.write_text(_HEAD + _wrapped(lines) + _TAIL)


def _numbers(text: str) -> dict[str, int]:
    return {
        name: int(number)
        for name, number in _DEFINED.findall(text)
        if name not in ("syscalls", "arch_specific_syscall")
    }


def _aarch64() -> str:
    """Return the generic table as arm64 has it (arch/arm64/include/uapi/asm/unistd.h), with no #if left in it."""
    defines = [
        f"-D{name}"
        for name in (
            "__ARCH_WANT_RENAMEAT", "__ARCH_WANT_NEW_STAT", "__ARCH_WANT_SET_GET_RLIMIT",
            "__ARCH_WANT_TIME32_SYSCALLS", "__ARCH_WANT_SYS_CLONE3", "__ARCH_WANT_MEMFD_SECRET",
        )
    ]  # fmt: skip
    command = ["cpp", "-dD", "-P", "-undef", "-D__x86_64__", *defines, str(GENERIC)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    aliases = dict(re.findall(r"#\s*define __NR_(\w+) __NR3264_(\w+)", text))
    numbers = dict(re.findall(r"#\s*define __NR3264_(\w+)\s+(\d+)", text))
    return text + "".join(
        f"\n#define __NR_{name} {numbers[old]}" for name, old in aliases.items() if old in numbers
    )


def _wrapped(lines: list[str]) -> str:
    text, current = "", "   "
    for line in lines:
        if len(current) + len(line) + 3 > 108:
            text += current + "\n"
            current = "   "
        current += f" {line},"
    return text + current + "\n"


_HEAD = '''"""Know the numbers of system calls by their names. Written by tools/generate_syscalls.py."""

from __future__ import annotations

_TABLE = """
'''
_TAIL = '''"""


def numbers(column: int) -> dict[str, int]:
    """Return name -> number, of x86_64 (column 0) or aarch64 (1)."""
    entries = (entry.split() for entry in _TABLE.split(",") if entry.strip())
    return {name: int(places[column]) for name, *places in entries if int(places[column]) >= 0}
'''

if __name__ == "__main__":
    main()
