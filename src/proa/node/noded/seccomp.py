"""Filter a container's system calls by a profile in OCI's form: the default one (seccomp_default.py) or a pod's own.

Theory of operation. A profile becomes a classic BPF program: after the architecture is checked, a binary search over
ranges of call numbers ends in an answer, or in the tests of arguments (64 bits in two words) of a call that has rules
with some. Rules are tried in their order; what none fits gets the default action. As runc does, calls newer than any
that the profile names are answered with ENOSYS where it refuses by an error, so that libc falls back to older ones.
Numbers of another architecture (32-bit programs, x32) get ENOSYS. Sources: the OCI runtime specification
(config-linux.md, Seccomp), linux/filter.h, linux/seccomp.h, linux/audit.h, runc libcontainer/seccomp/patchbpf.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import struct

from proa.node.noded import linux
from proa.node.noded.seccomp_default import default_profile
from proa.node.noded.syscalls import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MACHINES = {"x86_64": (0, 0xC000003E, "SCMP_ARCH_X86_64"), "aarch64": (1, 0xC00000B7, "SCMP_ARCH_AARCH64")}
_X32 = 0x40000000
_LOAD, _JUMP, _EQUAL, _ABOVE, _AT_LEAST, _AND, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x54, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000, "SCMP_ACT_KILL_THREAD": 0x00000000, "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000, "SCMP_ACT_ERRNO": 0x00050000, "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000,
}  # fmt: skip
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_UNKNOWN = _ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
_WORD = 0xFFFFFFFF
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS


class BadProfile(ValueError):
    """The profile cannot be carried out; the words say why."""


def why_not() -> str:
    """Return why this machine's containers have no filter; "" when they have."""
    machine = os.uname().machine
    return "" if machine in _MACHINES else f"the numbers of the system calls of {machine} are not known"


def install(program: bytes) -> None:
    """Filter the calls of this process, for good; it needs CAP_SYS_ADMIN in its user namespace, or no_new_privs."""
    if program:
        linux.install_filter(program)


@functools.lru_cache(maxsize=16)
def make_default_filter(capabilities: frozenset[str], machine: str = os.uname().machine) -> bytes:
    """Return the program of RuntimeDefault for a process with these capabilities; nothing on an unknown machine."""
    return compile_profile(default_profile(capabilities, machine), machine) if machine in _MACHINES else b""


@functools.lru_cache(maxsize=16)
def make_filter(profile: str, machine: str = os.uname().machine) -> bytes:
    """Return the program of a profile's JSON; raise BadProfile."""
    try:
        parsed = json.loads(profile)
    except ValueError as error:
        raise BadProfile(f"not JSON: {error}") from error
    if machine not in _MACHINES:
        raise BadProfile(why_not())
    return compile_profile(parsed, machine)


def compile_profile(profile: dict[str, Any], machine: str) -> bytes:
    """Return the BPF program (struct sock_filter[]) of a profile for a machine; raise BadProfile."""
    try:
        return _compile(profile, machine)
    except (AttributeError, KeyError, TypeError) as error:
        raise BadProfile(f"not a seccomp profile: {error}") from error


def _compile(profile: dict[str, Any], machine: str) -> bytes:
    column, audit, _ = _MACHINES[machine]
    known = numbers(column)
    default = _answer(profile["defaultAction"], profile.get("defaultErrnoRet"))
    blocks: dict[int, list[bytes]] = {}
    final: set[int] = set()
    for rule in profile.get("syscalls") or []:
        answer = _answer(rule["action"], rule.get("errnoRet"))
        tests = _tests(rule.get("args") or [], answer)
        for name in rule.get("names") or []:
            number = known.get(name, -1)
            if number < 0 or number in final:
                continue
            blocks.setdefault(number, []).extend(tests)
            if not rule.get("args"):
                final.add(number)
    newest = max(
        (known[n] for r in profile.get("syscalls") or [] for n in r["names"] if n in known), default=-1
    )
    beyond = _UNKNOWN if default & 0xFFFF0000 == _ACTIONS["SCMP_ACT_ERRNO"] and newest >= 0 else default
    program = [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_EQUAL, audit, 1, 0),
        _instruction(_RETURN, _UNKNOWN),
        _instruction(_LOAD, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        program += [_instruction(_AT_LEAST, _X32, 0, 1), _instruction(_RETURN, _UNKNOWN)]
    program += _search(_ranges(blocks, final, default, beyond, newest))
    if len(program) > _MAX_INSTRUCTIONS:
        raise BadProfile(f"it needs {len(program)} instructions, the kernel takes {_MAX_INSTRUCTIONS}")
    return b"".join(program)


def _ranges(
    blocks: dict[int, list[bytes]], final: set[int], default: int, beyond: int, newest: int
) -> list[tuple[int, bytes]]:
    """Return (first number, code for it and all after it), ascending; neighbours with one answer are one."""
    last = _instruction(_RETURN, default)
    found: list[tuple[int, bytes]] = [(0, last)]
    for number in sorted(blocks):
        code = b"".join(blocks[number]) + (b"" if number in final else last)
        for first, then in ((number, code), (number + 1, last)):
            if found[-1][0] == first:
                found.pop()
            if not found or found[-1][1] != then:
                found.append((first, then))
    after = _instruction(_RETURN, beyond)
    if newest >= 0 and after != last:
        found = [(first, code) for first, code in found if first <= newest]
        found.append((newest + 1, after))
    return found


def _search(ranges: list[tuple[int, bytes]]) -> list[bytes]:
    """Return code that finds the range of the number in the accumulator; each way ends in a return."""
    if len(ranges) == 1:
        code = ranges[0][1]
        return [code[place : place + 8] for place in range(0, len(code), 8)]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    return [_instruction(_AT_LEAST, ranges[middle][0], 0, 1), _instruction(_JUMP, len(below)), *below, *above]


def _tests(arguments: list[dict[str, Any]], answer: int) -> list[bytes]:
    """Return code that answers where every argument is as it says, and else goes on behind itself."""
    code = [_instruction(_RETURN, answer)]
    for argument in reversed(arguments):
        code = [*_test(argument, len(code)), *code]
    return code


def _test(argument: dict[str, Any], rest: int) -> list[bytes]:
    """Return code that goes on where an argument fits, else skips what follows: `rest` instructions."""
    value, second = int(argument["value"]), int(argument.get("valueTwo") or 0)
    place = _ARGUMENTS_OFFSET + 8 * int(argument["index"])
    if not 0 <= int(argument["index"]) <= 5:
        raise BadProfile(f"no system call has an argument {argument['index']}")
    low, high = _instruction(_LOAD, place), _instruction(_LOAD, place + 4)
    operator = argument["op"]
    if operator == "SCMP_CMP_MASKED_EQ":
        masked = [(high, value >> 32, second >> 32), (low, value, second)]
        first, then = ([load, _instruction(_AND, mask & _WORD)] for load, mask, _ in masked)
        return [
            *first, _instruction(_EQUAL, masked[0][2] & _WORD, 0, rest + 3),
            *then, _instruction(_EQUAL, masked[1][2] & _WORD, 0, rest),
        ]  # fmt: skip
    upper, lower = value >> 32 & _WORD, value & _WORD
    if operator == "SCMP_CMP_EQ":
        return [high, _instruction(_EQUAL, upper, 0, rest + 2), low, _instruction(_EQUAL, lower, 0, rest)]
    if operator == "SCMP_CMP_NE":
        return [high, _instruction(_EQUAL, upper, 0, 2), low, _instruction(_EQUAL, lower, rest, 0)]
    orders = {"SCMP_CMP_GT": (_ABOVE, True), "SCMP_CMP_GE": (_AT_LEAST, True),
              "SCMP_CMP_LE": (_ABOVE, False), "SCMP_CMP_LT": (_AT_LEAST, False)}  # fmt: skip
    if operator not in orders:
        raise BadProfile(f"unknown operator {operator!r}")
    test, wanted = orders[operator]
    yes, no = (0, rest) if wanted else (rest, 0)
    return [  # the upper words decide unless they are equal
        high,
        _instruction(_ABOVE, upper, 3 + yes, 0),
        _instruction(_EQUAL, upper, 0, 2 + no),
        low,
        _instruction(test, lower, yes, no),
    ]


def _answer(action: str, number: Any) -> int:
    if action not in _ACTIONS:
        raise BadProfile(f"the action {action!r} is not supported")
    if action in _WITH_NUMBER:
        return _ACTIONS[action] | (int(number) & 0xFFFF if number is not None else errno.EPERM)
    return _ACTIONS[action]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    if max(if_true, if_false) > 255:
        raise BadProfile("a call has too many arguments in one rule")
    return struct.pack("=HBBI", code, if_true, if_false, value)
