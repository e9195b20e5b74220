"""What the filter refuses, by running its program."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.node.noded.privileges import CAPABILITIES, DEFAULT_CAPABILITIES
from proa.node.noded.seccomp import BadProfile, compile_profile, make_default_filter, make_filter

X86_64, I386 = 0xC000003E, 0x40000003
ALLOWED = 0x7FFF0000
EVERYTHING = frozenset(CAPABILITIES)


def run(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """Interpret classic BPF over struct seccomp_data, as the kernel does; return the errno, 0 for allowed."""
    value = answer(program, number, *arguments, architecture=architecture)
    return 0 if value == ALLOWED else value & 0xFFFF


def answer(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """Return what the program returns."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(*arguments, *[0] * 6)[:6])
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = instructions[place]
        place += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            place += value
        else:
            test = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}
            place += if_true if test[code] else if_false


@pytest.mark.parametrize(
    ("number", "argument", "answer"),
    [
        (0, 0, 0), (59, 0, 0), (272, 0, errno.EPERM), (165, 0, errno.EPERM), (250, 0, errno.EPERM),
        (321, 0, errno.EPERM),
        (56, 0x01200011, 0), (56, 0x10000011, errno.EPERM), (435, 0, errno.ENOSYS), (41, 2, 0), (41, 40, errno.EPERM),
        (0x40000000 + 272, 0, errno.ENOSYS),
    ],
    ids=["read", "execve", "unshare", "mount", "keyctl", "bpf", "fork", "clone with a user namespace", "clone3",
         "an internet socket", "a hypervisor socket", "unshare as x32"],
)  # fmt: skip
def test_by_default_what_leads_out_is_refused(number: int, argument: int, answer: int) -> None:
    assert run(make_default_filter(DEFAULT_CAPABILITIES, "x86_64"), number, argument) == answer


def test_a_call_by_the_numbers_of_another_architecture_is_unknown() -> None:
    assert run(make_default_filter(DEFAULT_CAPABILITIES, "x86_64"), 310, architecture=I386) == errno.ENOSYS


@pytest.mark.parametrize(
    ("number", "answer"),
    [(272, 0), (165, 0), (435, 0), (250, errno.EPERM), (246, errno.EPERM)],
    ids=["unshare", "mount", "clone3", "keyctl", "kexec_load"],
)
def test_a_capability_brings_its_calls_back(number: int, answer: int) -> None:
    assert run(make_default_filter(EVERYTHING, "x86_64"), number) == answer


def test_arm_has_numbers_of_its_own() -> None:
    program = make_default_filter(DEFAULT_CAPABILITIES, "aarch64")
    assert run(program, 97, architecture=0xC00000B7) == errno.EPERM
    assert run(program, 63, architecture=0xC00000B7) == 0


# Profiles of pods

READ, WRITE, SOCKET, CLONE = 0, 1, 41, 56
OPERATORS = {
    "SCMP_CMP_EQ": lambda a, v, _: a == v,
    "SCMP_CMP_NE": lambda a, v, _: a != v,
    "SCMP_CMP_LT": lambda a, v, _: a < v,
    "SCMP_CMP_LE": lambda a, v, _: a <= v,
    "SCMP_CMP_GT": lambda a, v, _: a > v,
    "SCMP_CMP_GE": lambda a, v, _: a >= v,
    "SCMP_CMP_MASKED_EQ": lambda a, v, w: a & v == w,
}
WORDS = st.one_of(
    st.integers(0, 3), st.integers(0, 2**64 - 1), st.sampled_from([2**32 - 1, 2**32, 2**32 + 1])
)
ARGUMENTS = st.fixed_dictionaries({
    "index": st.integers(0, 5), "value": WORDS, "valueTwo": WORDS, "op": st.sampled_from(sorted(OPERATORS)),
})  # fmt: skip
RULES = st.fixed_dictionaries({
    "names": st.lists(st.sampled_from(["read", "write", "socket", "clone", "nonesuch"]), min_size=1, max_size=3),
    "action": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS"]),
    "errnoRet": st.integers(1, 100), "args": st.lists(ARGUMENTS, max_size=3),
})  # fmt: skip
NUMBERS = {"read": READ, "write": WRITE, "socket": SOCKET, "clone": CLONE}
ANSWERS = {"SCMP_ACT_ALLOW": ALLOWED, "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_KILL_PROCESS": 0x80000000}


def expected(rules: list[dict[str, Any]], name: str, arguments: tuple[int, ...]) -> int:
    """Say what a profile that allows by default answers: the first rule that fits."""
    for rule in rules:
        fits = all(OPERATORS[a["op"]](arguments[a["index"]], a["value"], a["valueTwo"]) for a in rule["args"])
        if name in rule["names"] and fits:
            return ANSWERS.get(rule["action"], 0x00050000 | rule["errnoRet"])
    return ALLOWED


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(RULES, max_size=6), st.sampled_from(sorted(NUMBERS)), st.tuples(*[WORDS] * 6))
def test_the_first_rule_that_fits_answers(
    rules: list[dict[str, Any]], name: str, arguments: tuple[int, ...]
) -> None:
    program = compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}, "x86_64")
    assert answer(program, NUMBERS[name], *arguments) == expected(rules, name, arguments)


def test_calls_newer_than_a_profile_are_unknown_not_forbidden() -> None:
    program = compile_profile(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["read", "clone"], "action": "SCMP_ACT_ALLOW"}],
        },
        "x86_64",
    )
    assert [run(program, n) for n in (READ, WRITE, CLONE, CLONE + 1, 9999)] == [
        0,
        1,
        0,
        errno.ENOSYS,
        errno.ENOSYS,
    ]


@pytest.mark.parametrize(
    "profile",
    [
        "nonsense", "[]", "{}", '{"defaultAction": "SCMP_ACT_NOTIFY"}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",'
        ' "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}',
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_carried_out_is_refused(profile: str) -> None:
    with pytest.raises(BadProfile):
        make_filter(profile, "x86_64")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, EVERYTHING, frozenset()], ids=len)
def test_the_default_filter_fits_into_the_kernel(machine: str, capabilities: frozenset[str]) -> None:
    assert 0 < len(make_default_filter(capabilities, machine)) // 8 <= 4096


@pytest.mark.parametrize(
    ("value", "code"),
    [(0, 0), (0x20008, 0), (0xFFFFFFFF, 0), (0x0040000, errno.EPERM), (1 << 32, errno.EPERM)],
)
def test_a_personality_is_one_that_changes_no_layout(value: int, code: int) -> None:
    assert run(make_default_filter(DEFAULT_CAPABILITIES, "x86_64"), 135, value) == code
