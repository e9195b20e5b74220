"""What a service is in nftables' sets: what changes is small, what several have is one's, and nothing is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.network.data_path import Endpoint, ServiceKey, ServicePort
from proa.network.netfilter import messages
from proa.network.netfilter.messages import DELETE_ELEMENTS, NEW_ELEMENTS, NEW_TABLE, Refused, check, split
from proa.network.nftables import NftablesDataPath
from proa.network.service_elements import Claims, Elements, Key, elements_of, messages_of, order_of
from proa.network.service_rules import FAMILIES, IPV4

WEB, OTHER = ServiceKey("default", "web"), ServiceKey("default", "other")
ENDPOINTS = [Endpoint(f"10.244.1.{last}", 8080) for last in range(2, 12)]
FEW = st.lists(st.sampled_from(ENDPOINTS), unique=True)


def make_port(*endpoints: Endpoint, service: ServiceKey = WEB, **fields: Any) -> ServicePort:
    made = ServicePort(service, "", "TCP", ("10.96.0.7",), 80, 30080, 0, endpoints, endpoints)
    return ServicePort(**{**{name: getattr(made, name) for name in ServicePort.__slots__}, **fields})


def elements(*ports: ServicePort) -> Elements:
    return elements_of(IPV4, ports, lambda plan: plan.size, {})[0]


def names(found: Elements) -> list[str]:
    return sorted(key.set for key in found)


@given(FEW, FEW)
def test_endpoints_keep_their_numbers_where_they_can(before: list[Endpoint], now: list[Endpoint]) -> None:
    order = order_of(before, now)
    assert sorted(order) == sorted(now)
    moved = sum(old != new for old, new in zip(before, order, strict=False) if old in now)
    assert moved <= len(set(before) - set(now))


@given(st.lists(st.tuples(st.sampled_from([WEB, OTHER]), FEW, st.integers(0, 2)), max_size=6))
def test_changes_add_up_to_what_the_services_are_now(
    steps: list[tuple[ServiceKey, list[Endpoint], int]],
) -> None:
    claims, table = Claims(), Elements()
    has: dict[ServiceKey, Elements] = {}
    for service, endpoints, external in steps:
        addresses = tuple(f"192.0.2.{last}" for last in range(external))
        cluster_ip = ("10.96.0.7" if service == WEB else "10.96.0.8",)
        fields = {"addresses": cluster_ip, "external_addresses": addresses, "node_port": 0}
        now = elements(make_port(*endpoints, service=service, **fields)) if endpoints else Elements()
        removed, added = claims.change({service: (has.get(service, Elements()), now)})
        has[service] = now
        for key, data in removed.items():
            assert table.pop(key) == data
        assert not table.keys() & added.keys()
        table |= added
    assert table.keys() == {key for found in has.values() for key in found}


def test_what_two_services_want_is_the_firsts_and_then_the_others() -> None:
    claims, key = Claims(), Key("services", b"key")
    assert claims.change({WEB: ({}, {key: b"web"})}) == ({}, {key: b"web"})
    assert claims.change({OTHER: ({}, {key: b"other"})}) == ({}, {})
    assert claims.change({WEB: ({key: b"web"}, {})}) == ({key: b"web"}, {key: b"other"})
    assert claims.change({OTHER: ({key: b"other"}, {})}) == ({key: b"other"}, {})


def test_a_new_endpoint_touches_nothing_of_the_others() -> None:
    two = elements(make_port(*ENDPOINTS[:2]))
    three = elements(make_port(*ENDPOINTS[:3]))
    removed, added = Claims().change({WEB: ({}, two)})
    claims = Claims()
    claims.change({WEB: ({}, two)})
    removed, added = claims.change({WEB: (two, three)})
    assert names(removed) == ["services", "services"]
    assert names(added) == ["endpoints", "endpoints", "hairpins", "services", "services"]
    kinds = [(m.kind, m.doing) for m in messages_of(IPV4, removed, added)]
    assert [doing for _, doing in kinds] == [
        "add to endpoints",
        "add to hairpins",
        "delete from services",
        "add to services",
    ]


LOCAL = {"is_external_local": True, "cluster_endpoints": tuple(ENDPOINTS[:2])}
SETS = [
    ("nobody", make_port(), ["refused", "refused"]),
    ("one", make_port(ENDPOINTS[0], node_port=0), ["endpoints", "hairpins", "services"]),
    (
        "nobody here",
        make_port(ENDPOINTS[0], node_port_endpoints=(), **{**LOCAL, "cluster_endpoints": (ENDPOINTS[0],)}),
        ["dropped", "endpoints", "endpoints", "hairpins", "services", "services"],
    ),
    (
        "somebody here",
        make_port(ENDPOINTS[0], addresses=(), **LOCAL),
        ["endpoints", "endpoints", "endpoints", "hairpins", "hairpins", "outside", "services"],
    ),
    (
        "affinity",
        make_port(ENDPOINTS[0], node_port=0, affinity_seconds=5),
        ["endpoints", "hairpins", "live", "services"],
    ),
    (
        "guarded",
        make_port(
            addresses=(), node_port=0, balancer_addresses=("203.0.113.1",), source_ranges=("10.0.0.0/8",)
        ),
        ["allowed", "guarded", "refused"],
    ),
]


@pytest.mark.parametrize(("_name", "port", "expected"), SETS, ids=[case[0] for case in SETS])
def test_a_port_is_in_these_sets(_name: str, port: ServicePort, expected: list[str]) -> None:
    assert names(elements(port)) == expected


def test_a_port_is_in_the_table_of_its_family_only() -> None:
    port = make_port(ENDPOINTS[0])
    assert elements_of(FAMILIES["IPv6"], [port], lambda plan: 1, {}) == ({}, {})


class Kernel:
    """A NodeNetwork that notes what is asked of netfilter, and refuses when told to."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.fails = False

    async def ask_netfilter(self, request: bytes) -> bytes:
        self.asked.append([kind & 0xFF for kind, _, _ in split(request) if kind >> 8 == 10])
        code = -17 if self.fails else 0
        answer = code.to_bytes(4, "little", signed=True) + bytes(16)
        return messages._HEADER.pack(36, 2, 0, 1, 0) + answer


def test_after_a_failure_the_whole_table_is_made_again() -> None:
    async def main() -> None:
        kernel = Kernel()
        path = NftablesDataPath(kernel, ["10.243.0.1"], ["10.244.0.0/16"])  # type: ignore[arg-type]
        one, two = make_port(ENDPOINTS[0]), make_port(*ENDPOINTS[:2], service=OTHER, addresses=("10.96.0.8",))
        await path.start()
        await path.apply({WEB: (one,)})
        assert NEW_TABLE not in kernel.asked[-1]
        kernel.fails = True
        with pytest.raises(Refused, match=r"File exists \(add"):
            await path.apply({OTHER: (two,)})
        kernel.fails = False
        await path.apply({WEB: ()})
        assert NEW_TABLE in kernel.asked[-2]
        assert set(kernel.asked[-1]) & {NEW_ELEMENTS}
        before = len(kernel.asked)
        await path.apply({OTHER: ()})
        assert set(kernel.asked[-1]) == {DELETE_ELEMENTS}
        assert len(kernel.asked) == before + 1

    asyncio.run(main())


def test_silence_of_the_kernel_is_no_success() -> None:
    with pytest.raises(Refused, match="did not answer"):
        check([], b"")
