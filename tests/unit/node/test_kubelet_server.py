"""Logs, exec, attach and port-forward, and the words when they cannot be had."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from proa.client.kubelet_api import ExecOptions, LogOptions, PodRef
from proa.node.runtimes.fake import FakeSession
from proa.node.runtimes.protocol import ContainerStats
from proa.node.server import choose_container
from proa.objects.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable
from proa.objects.resource import PODS
from support.kubelet import Node, harness, make_container, make_pod

WEB = PodRef("default", "web")
T0 = "2026-01-02T03:04:05.000000001Z"


async def logs(node: Node, **options: Any) -> str:
    chunks = await node.kubelet.server.container_logs(WEB, LogOptions(**options))
    return b"".join([chunk async for chunk in chunks]).decode()


async def begin(node: Node, pod: dict[str, Any] | None = None) -> None:
    await node.client.create(PODS, pod or make_pod())
    await node.until(lambda: node.status().get("phase") == "Running")


def say(node: Node, words: str, name: str = "app") -> None:
    with Path(node.runtime.newest(name).config.log_path).open("a") as file:
        file.write(f"{T0} stdout F {words}\n")


def test_logs_of_now_and_of_the_attempt_before(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            say(node, "first")
            assert await logs(node) == "first\n"
            with pytest.raises(BadRequest) as caught:
                await logs(node, previous=True)
            assert str(caught.value) == 'previous terminated container "app" in pod "web" not found'

            node.runtime.exit(node.runtime.newest("app").id, 1)
            await node.until(lambda: node.container_status()["restartCount"] == 1)
            say(node, "second")

            assert await logs(node) == "second\n"
            assert await logs(node, previous=True) == "first\n"

    asyncio.run(main())


def test_a_follower_ends_with_its_container(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node, make_pod(restartPolicy="Never"))
            say(node, "hello")
            follower = await node.kubelet.server.container_logs(WEB, LogOptions(follow=True))
            async with asyncio.timeout(60):
                assert await anext(follower) == b"hello\n"
                say(node, "bye")
                node.runtime.exit(node.runtime.newest("app").id, 0)

                assert [chunk async for chunk in follower] == [b"bye\n"]

    asyncio.run(main())


def test_why_there_are_no_logs(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            with pytest.raises(NotFound, match='pods "web" not found'):
                await logs(node)
            await node.client.create(PODS, make_pod("web", make_container(image="nginx")))
            await node.until(lambda: node.waiting() == "ImagePullBackOff")
            await node.until(
                lambda: (node.kubelet._pods.get("web", "default") or {}).get("status") == node.status()
            )
            with pytest.raises(BadRequest) as caught:
                await logs(node)
            assert str(caught.value) == 'container "app" in pod "web" is waiting to start: ImagePullBackOff'

    asyncio.run(main())


TWO = make_pod("web", make_container("a"), make_container("b"), initContainers=[make_container("i")])


@pytest.mark.parametrize(
    ("pod", "wanted", "expected"),
    [
        (make_pod(), "", "app"),
        (TWO, "b", "b"),
        (TWO, "i", "i"),
        (
            TWO,
            "",
            "a container name must be specified for pod web, choose one of: [a b] "
            "or one of the init containers: [i]",
        ),
        (
            make_pod("web", make_container("a"), make_container("b")),
            "",
            "a container name must be specified for pod web, choose one of: [a b]",
        ),
        (TWO, "x", "container x is not valid for pod web"),
    ],
)
def test_which_container_is_meant(pod: dict[str, Any], wanted: str, expected: str) -> None:
    try:
        found = choose_container(pod, wanted)
    except ApiError as error:
        found = str(error)

    assert found == expected


def test_exec_and_attach_reach_the_running_container(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            node.runtime.commands["echo"] = lambda: FakeSession(3, [("stdout", b"hi")])
            session = await node.kubelet.server.exec(WEB, ExecOptions(command=("echo",)))
            assert [piece async for piece in session.output()] == [("stdout", b"hi")]
            assert await session.wait() == 3
            attached = await node.kubelet.server.attach(WEB, ExecOptions())
            assert [piece async for piece in attached.output()] == [("stdout", b"attached")]
            with pytest.raises(InternalError, match="executable file not found"):
                await node.kubelet.server.exec(WEB, ExecOptions(command=("nope",)))

    asyncio.run(main())


def test_exec_in_a_container_that_ended_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node, make_pod(restartPolicy="Never"))
            node.runtime.exit(node.runtime.newest("app").id, 0)
            await node.until(lambda: node.status()["phase"] == "Succeeded")
            with pytest.raises(InternalError, match=r'container not found \("app"\)'):
                await node.kubelet.server.exec(WEB, ExecOptions(command=("echo",)))

    asyncio.run(main())


def test_a_port_of_the_pod_is_reached(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            node.runtime.addresses["127.0.0.1", 80] = server.sockets[0].getsockname()
            stream = await node.kubelet.server.port_forward(WEB, 80)
            await stream.write(b"hello")
            await stream.close_write()
            assert await stream.read() == b"hello"
            assert await stream.read() == b""
            await stream.close()
            with pytest.raises(ServiceUnavailable, match="failed to forward port 81 in pod default/web"):
                await node.kubelet.server.port_forward(WEB, 81)
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_what_containers_use_is_shown_as_counters(tmp_path: Path) -> None:
    async def main() -> None:
        async with harness(tmp_path) as node:
            await begin(node)
            identifier = node.runtime.newest("app").id
            node.runtime.used[identifier] = ContainerStats(2_500_000_000, 4096)

            content_type, body = await node.kubelet.server.document("/stats/summary") or ("", b"")
            summary = orjson.loads(body)
            (pod,) = summary["pods"]
            assert content_type == "application/json"
            assert summary["node"]["nodeName"] == node.kubelet.settings.node_name
            assert summary["node"]["cpu"]["usageCoreNanoSeconds"] > 0
            assert pod["podRef"]["name"] == "web"
            assert pod["containers"][0]["cpu"]["usageCoreNanoSeconds"] == 2_500_000_000
            assert pod["memory"]["workingSetBytes"] == 4096

            _, text = await node.kubelet.server.document("/metrics/resource") or ("", b"")
            (line,) = [line for line in text.decode().splitlines() if line.startswith("pod_cpu")]
            assert line.startswith('pod_cpu_usage_seconds_total{namespace="default",pod="web"} 2.500000 ')
            assert await node.kubelet.server.document("/healthz") == ("text/plain; charset=utf-8", b"ok")
            assert await node.kubelet.server.document("/run") is None

            node.runtime.fail_next("usage", "UnknownOperation", "noded does not know 'usage'")
            with pytest.raises(ServiceUnavailable, match="noded does not know 'usage'"):
                await node.kubelet.server.document("/stats/summary")

    asyncio.run(main())
