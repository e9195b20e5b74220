"""What is handed out is random, whole, and handed out once."""

import os

import pytest

from proa.objects import randomness
from proa.objects.randomness import random_bytes


@pytest.mark.parametrize("count", [0, 1, 5, 16, 4095, 4096, 5000])
def test_as_many_bytes_come_as_are_asked_for(count: int) -> None:
    assert len(random_bytes(count)) == count


def test_no_bytes_are_handed_out_twice() -> None:
    found = [random_bytes(16) for _ in range(5000)]

    assert len(set(found)) == len(found)


def test_one_system_call_serves_many_askers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(randomness, "_bytes", b"")
    monkeypatch.setattr(randomness, "_used", 0)
    monkeypatch.setattr(randomness.os, "urandom", lambda count: calls.append(count) or bytes(count))

    for _ in range(256):
        random_bytes(16)

    assert len(calls) == 1


def test_a_fork_hands_out_others_than_its_parent() -> None:
    random_bytes(1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, random_bytes(16))
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reader, 16) != random_bytes(16)
    os.close(reader)
    os.close(writer)
