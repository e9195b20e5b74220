"""Probes: what one finds out, how results add up, and when they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proa.node.probes.health import Streak, observe
from proa.node.probes.manager import Known, ProbeManager
from proa.node.probes.ports import find_port
from proa.node.probes.prober import ProbeResult, Target, run_probe
from proa.node.runtimes.fake import FakeRuntime, FakeSession
from support.kubelet import Events

IP = "10.244.1.2"
CONTAINER = {"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}
TARGET = Target("c1", CONTAINER, IP)


@asynccontextmanager
async def http_server(answer: Callable[[str], bytes]) -> AsyncIterator[FakeRuntime]:
    """Give a runtime whose pod answers HTTP on port 8080; `answer` gets the request's head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(answer(head))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    runtime = FakeRuntime(lambda: 0.0)
    runtime.addresses[IP, 8080] = server.sockets[0].getsockname()
    try:
        yield runtime
    finally:
        server.close()
        await server.wait_closed()


def probe_http(answer: Callable[[str], bytes], **get: Any) -> ProbeResult:
    async def main() -> ProbeResult:
        async with http_server(answer) as runtime:
            return await run_probe(runtime, {"httpGet": {"port": 8080, **get}}, TARGET)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, ProbeResult(True)),
        (302, ProbeResult(True, "Probe terminated redirects, Response body: gone", is_warning=True)),
        (404, ProbeResult(False, "HTTP probe failed with statuscode: 404")),
        (503, ProbeResult(False, "HTTP probe failed with statuscode: 503")),
    ],
)
def test_an_http_probe_goes_by_the_status(status: int, expected: ProbeResult) -> None:
    assert probe_http(lambda _: f"HTTP/1.1 {status} X\r\n\r\ngone".encode()) == expected


def test_an_http_probe_asks_as_upstream_does() -> None:
    heads: list[str] = []

    def answer(head: str) -> bytes:
        heads.append(head)
        return b"HTTP/1.1 200 OK\r\n\r\n"

    probe_http(answer, path="/healthz?x=1", port="http", httpHeaders=[{"name": "X-A", "value": "b"}])

    first, *headers = heads[0].strip().split("\r\n")
    assert first == "GET /healthz?x=1 HTTP/1.1"
    assert set(headers) == {
        f"Host: {IP}:8080",
        "User-Agent: kube-probe/1.36",
        "Accept: */*",
        "Connection: close",
        "X-A: b",
    }


def test_a_redirect_to_the_same_host_is_followed() -> None:
    def answer(head: str) -> bytes:
        if head.startswith("GET /old "):
            return b"HTTP/1.1 302 Found\r\nLocation: /new\r\n\r\n"
        return b"HTTP/1.1 500 X\r\n\r\n"

    assert probe_http(answer, path="/old") == ProbeResult(False, "HTTP probe failed with statuscode: 500")


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (
            {"httpGet": {"port": 81}},
            f'Get "http://{IP}:81/": dial tcp {IP}:81: connect: connection refused',
        ),
        ({"tcpSocket": {"port": 81}}, f"dial tcp {IP}:81: connect: connection refused"),
    ],
)
def test_why_a_probe_failed(probe: dict[str, Any], message: str) -> None:
    assert asyncio.run(run_probe(FakeRuntime(lambda: 0.0), probe, TARGET)) == ProbeResult(False, message)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"tcpSocket": {"port": "nope"}}, "port nope not found"),
        ({"exec": {"command": ["nope"]}}, 'exec: "nope": executable file not found in $PATH'),
    ],
    ids=["port", "program"],
)
def test_a_probe_that_cannot_be_run_tells_nothing(probe: dict[str, Any], message: str) -> None:
    found = asyncio.run(run_probe(FakeRuntime(lambda: 0.0), probe, TARGET))

    assert found == ProbeResult(False, message, errored=True)


def test_a_probe_that_takes_too_long_has_failed() -> None:
    async def main() -> ProbeResult:
        runtime = FakeRuntime(lambda: 0.0)
        runtime.commands["slow"] = lambda: FakeSession(hangs=True)
        return await run_probe(
            runtime, {"exec": {"command": ["slow", "a b"]}, "timeoutSeconds": 0.01}, TARGET
        )

    assert asyncio.run(main()) == ProbeResult(
        False, "command timed out: \"slow 'a b'\" timed out after 0.01s"
    )


@pytest.mark.parametrize(("code", "ok"), [(0, True), (1, False)])
def test_an_exec_probe_goes_by_the_exit_code(code: int, ok: bool) -> None:
    runtime = FakeRuntime(lambda: 0.0)
    runtime.commands["check"] = lambda: FakeSession(code, [("stdout", b"all "), ("stderr", b"well")])

    result = asyncio.run(run_probe(runtime, {"exec": {"command": ["check"]}}, TARGET))

    assert result == ProbeResult(ok, "all well")


@pytest.mark.parametrize("port", [0, 65536, "70000"])
def test_a_port_out_of_range_is_refused(port: Any) -> None:
    with pytest.raises(ValueError, match="invalid port number"):
        find_port(CONTAINER, port)


@pytest.mark.parametrize(
    ("results", "probe", "verdict"),
    [
        ("", {}, None),
        ("+", {}, True),
        ("--", {}, None),
        ("---", {}, False),
        ("+--", {}, True),
        ("+---", {}, False),
        ("---+", {}, True),
        ("-", {"failureThreshold": 1}, False),
        ("+", {"successThreshold": 2}, None),
        ("++", {"successThreshold": 2}, True),
        ("+-+", {"successThreshold": 2}, None),
    ],
)
def test_results_add_up_to_a_verdict(results: str, probe: dict[str, Any], verdict: bool | None) -> None:
    streak = Streak()
    for result in results:
        streak = observe(streak, result == "+", probe)

    assert streak.verdict is verdict


class Clock:
    """A clock that moves only when all who sleep are waiting."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.sleeping: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleeping.append((self.time + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        until = self.time + seconds
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            self.sleeping = [(at, f) for at, f in self.sleeping if not f.done()]
            due = min(self.sleeping, key=lambda entry: entry[0], default=None)
            if due is None or due[0] > until + 1e-9:
                break
            self.time = max(self.time, due[0])
            due[1].set_result(None)
        self.time = until


class Probed:
    """A container that is probed with exec, on a clock that a test moves."""

    def __init__(self, known: Known = Known(), **probes: dict[str, Any]) -> None:  # noqa: B008
        self.clock = Clock()
        self.events = Events()
        self.changes = 0
        self.codes = {"startup": 0, "readiness": 0, "liveness": 0}
        self.calls: list[tuple[float, str]] = []
        runtime = FakeRuntime(self.clock.now)
        for kind in self.codes:
            runtime.commands[kind] = self._answer(kind)
        self.manager = ProbeManager(runtime, self.events, self.clock.now, lambda: 0.0, self.clock.sleep)
        self.container = {
            "name": "app",
            **{f"{kind}Probe": {"exec": {"command": [kind]}, **probe} for kind, probe in probes.items()},
        }
        pod = {"metadata": {"name": "web", "namespace": "default"}}
        self.manager.watch(
            pod,
            Target("c1", self.container, IP),
            self.clock.time,
            self._changed,
            "spec.containers{app}",
            known,
        )

    def _answer(self, kind: str) -> Callable[[], FakeSession]:
        def answer() -> FakeSession:
            self.calls.append((self.clock.time - 1000, kind))
            return FakeSession(self.codes[kind], [("stdout", b"said so")])

        return answer

    def _changed(self) -> None:
        self.changes += 1

    @property
    def health(self) -> Any:
        return self.manager.health("c1", self.container)


def test_readiness_follows_its_delay_and_period() -> None:
    async def main() -> None:
        probed = Probed(readiness={"initialDelaySeconds": 5, "periodSeconds": 3})
        await probed.clock.advance(4)
        assert (probed.health.ready, probed.calls) == (False, [])
        await probed.clock.advance(8)
        assert probed.health.ready
        assert [at for at, _ in probed.calls] == [5, 8, 11]
        probed.codes["readiness"] = 1
        await probed.clock.advance(9)
        assert not probed.health.ready
        assert probed.changes == 2
        assert probed.events.messages("Unhealthy") == ["Readiness probe failed: said so"] * 3
        await probed.manager.stop()

    asyncio.run(main())


def test_a_failed_liveness_probe_asks_for_a_restart_once() -> None:
    async def main() -> None:
        probed = Probed(liveness={"periodSeconds": 2, "terminationGracePeriodSeconds": 4})
        probed.codes["liveness"] = 1
        await probed.clock.advance(30)
        assert probed.health.restart_message == "Container app failed liveness probe, will be restarted"
        assert probed.health.grace_seconds == 4
        assert len(probed.calls) == 3
        assert probed.events.messages("Unhealthy") == ["Liveness probe failed: said so"] * 3
        await probed.manager.stop()

    asyncio.run(main())


def test_a_probe_that_cannot_be_run_restarts_nothing() -> None:
    async def main() -> None:
        probed = Probed(liveness={"periodSeconds": 2, "exec": {"command": ["nope"]}})
        await probed.clock.advance(30)
        assert probed.health.restart_message == ""
        said = "Liveness probe errored and resulted in unknown state: exec: "
        assert all(told.startswith(said) for told in probed.events.messages("Unhealthy"))
        assert len(probed.events.messages("Unhealthy")) > 3
        await probed.manager.stop()

    asyncio.run(main())


def test_startup_holds_back_the_others() -> None:
    async def main() -> None:
        probed = Probed(
            startup={"periodSeconds": 1, "failureThreshold": 9}, liveness={"periodSeconds": 1}, readiness={}
        )
        probed.codes["startup"] = 1
        await probed.clock.advance(3)
        assert not probed.health.started
        assert {kind for _, kind in probed.calls} == {"startup"}
        probed.codes["startup"] = 0
        await probed.clock.advance(2)
        assert (probed.health.started, probed.health.ready) == (True, True)
        assert {kind for at, kind in probed.calls if at > 3} >= {"liveness", "readiness"}
        await probed.manager.stop()

    asyncio.run(main())


def test_a_failed_startup_probe_asks_for_a_restart() -> None:
    async def main() -> None:
        probed = Probed(startup={"periodSeconds": 1, "failureThreshold": 2})
        probed.codes["startup"] = 1
        await probed.clock.advance(5)
        assert probed.health.restart_message == "Container app failed startup probe, will be restarted"
        await probed.manager.stop()

    asyncio.run(main())


def test_a_restart_of_the_server_does_not_make_a_container_unready() -> None:
    async def main() -> None:
        probed = Probed(Known(started=True, ready=True), startup={}, readiness={"initialDelaySeconds": 60})
        assert (probed.health.started, probed.health.ready) == (True, True)
        await probed.manager.stop()

    asyncio.run(main())


def test_a_port_that_opens_late_is_noticed_before_the_next_period() -> None:
    async def main() -> None:
        clock, events = Clock(), Events()
        async with http_server(lambda _: b"HTTP/1.1 200 OK\r\n\r\n") as runtime:
            address = runtime.addresses.pop((IP, 8080))
            manager = ProbeManager(runtime, events, clock.now, lambda: 0.0, clock.sleep)
            container = {"name": "app", "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 10}}
            ready = asyncio.Event()
            pod = {"metadata": {"name": "web"}}
            manager.watch(pod, Target("c1", container, IP), clock.time, ready.set, "", Known())
            await clock.advance(1.5)
            assert len(events.messages("Unhealthy")) == 1
            runtime.addresses[IP, 8080] = address
            await clock.advance(2)
            await asyncio.wait_for(ready.wait(), 60)

            assert manager.health("c1", container).ready
            assert len(events.messages("Unhealthy")) == 1
            await manager.stop()

    asyncio.run(main())


def test_a_container_without_probes_is_healthy_and_costs_nothing() -> None:
    async def main() -> None:
        probed = Probed()
        assert (probed.health.started, probed.health.ready) == (True, True)
        assert probed.manager.watched() == []

    asyncio.run(main())
