"""Who of those that wait for a revision goes to which pod."""

from __future__ import annotations

from proa.ml.serving.activator.waiting_room import Slot, WaitingRoom
from proa.ml.serving.records import Backend, Backends, Probe


class Waiter:
    """A request that notes where it went."""

    def __init__(self) -> None:
        self.slot: Slot | None = None

    def go(self, slot: Slot) -> None:
        self.slot = slot


def pods(*, is_ready: bool) -> Backends:
    return Backends((Backend("p", "10.0.0.1", 8080, 0, Probe(8080), is_ready),), 0, 0.0)


def test_a_pod_that_was_ready_and_is_no_more_gets_nothing_until_it_answers_when_asked() -> None:
    room = WaitingRoom(lambda: 0.0, "instance")
    room.update(pods(is_ready=True))
    before, held = Waiter(), Waiter()

    assert not room.enter(before)
    room.update(pods(is_ready=False))
    assert room.enter(held)
    (slot,) = room.unasked
    room.answered(slot)

    assert before.slot is held.slot is slot


def test_a_pod_that_answered_when_asked_stays_though_the_kubelet_does_not_know_yet() -> None:
    room = WaitingRoom(lambda: 0.0, "instance")
    room.update(pods(is_ready=False))
    room.answered(room.unasked[0])

    room.update(pods(is_ready=False))

    assert not room.enter(Waiter())
