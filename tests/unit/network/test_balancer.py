"""New connections spread over the endpoints; with affinity each client keeps its own while that is there."""

from __future__ import annotations

from collections import Counter
from random import Random

from proa.network.balancer import MAX_REMEMBERED_CLIENTS, Balancer
from proa.network.data_path import Endpoint

A, B = Endpoint("10.244.1.2", 80), Endpoint("10.244.1.3", 80)


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def make_balancer(affinity_seconds: int, *endpoints: Endpoint) -> tuple[Balancer, Clock]:
    clock = Clock()
    balancer = Balancer(Random(1), clock)
    balancer.update(endpoints, affinity_seconds)
    return balancer, clock


def first_choice(balancer: Balancer, client: str) -> Endpoint:
    endpoint = balancer.candidates(client)[0]
    balancer.connected(client, endpoint)
    return endpoint


def test_without_affinity_choices_are_even_and_offer_every_endpoint_as_fallback() -> None:
    balancer, _ = make_balancer(0, A, B)
    counts = Counter(first_choice(balancer, "c") for _ in range(1000))
    assert 400 < counts[A] < 600
    assert {*balancer.candidates("c")} == {A, B}


def test_with_affinity_a_client_stays_until_it_is_silent_too_long() -> None:
    balancer, clock = make_balancer(60, A, B)
    first = first_choice(balancer, "c")
    for _ in range(20):
        clock.time += 50
        assert first_choice(balancer, "c") == first
    clock.time += 61
    assert len({first_choice(balancer, f"c{i}") for i in range(20)}) == 2


def test_with_affinity_a_client_moves_when_its_endpoint_goes() -> None:
    balancer, _ = make_balancer(60, A, B)
    other = {A: B, B: A}[first_choice(balancer, "c")]
    balancer.update((other,), 60)
    assert balancer.candidates("c") == [other]


def test_remembered_clients_are_bounded() -> None:
    balancer, _ = make_balancer(60, A)
    for client in range(MAX_REMEMBERED_CLIENTS + 10):
        balancer.connected(str(client), A)
    assert len(balancer._clients) == MAX_REMEMBERED_CLIENTS
