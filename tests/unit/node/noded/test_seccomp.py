"""What the filter refuses, by running its program."""

from __future__ import annotations

import errno
import struct

import pytest

from proa.node.noded.privileges import CAPABILITIES, DEFAULT_CAPABILITIES
from proa.node.noded.seccomp import make_filter

X86_64, I386 = 0xC000003E, 0x40000003
ALLOWED = 0x7FFF0000
EVERYTHING = frozenset(CAPABILITIES)


def run(program: bytes, number: int, argument: int = 0, architecture: int = X86_64) -> int:
    """Interpret classic BPF over struct seccomp_data, as the kernel does."""
    data = struct.pack("=IIQQ", number, architecture, 0, argument)
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = instructions[place]
        place += 1
        if code == 0x06:
            return 0 if value == ALLOWED else value & 0xFFFF
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        else:
            test = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}
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
    assert run(make_filter(DEFAULT_CAPABILITIES, "x86_64"), number, argument) == answer


def test_a_call_by_the_numbers_of_another_architecture_is_unknown() -> None:
    assert run(make_filter(DEFAULT_CAPABILITIES, "x86_64"), 310, architecture=I386) == errno.ENOSYS


@pytest.mark.parametrize(
    ("number", "answer"),
    [(272, 0), (165, 0), (435, 0), (250, errno.EPERM), (246, errno.EPERM)],
    ids=["unshare", "mount", "clone3", "keyctl", "kexec_load"],
)
def test_a_capability_brings_its_calls_back(number: int, answer: int) -> None:
    assert run(make_filter(EVERYTHING, "x86_64"), number) == answer


def test_arm_has_numbers_of_its_own() -> None:
    program = make_filter(DEFAULT_CAPABILITIES, "aarch64")
    assert run(program, 97, architecture=0xC00000B7) == errno.EPERM
    assert run(program, 63, architecture=0xC00000B7) == 0
