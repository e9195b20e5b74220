"""Requests are held while there is no pod, and lost by nobody: over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable

import pytest

from proa.ml.serving.activator import client_connection, waiting_room
from proa.ml.serving.activator.http2_frames import PREFACE
from proa.ml.serving.records import Backends
from proa.reconcile.protocol import Key
from support.activated import HEADERS, KEY, PodServer, activator_of, read_answer
from support.virtual_time import run_unhurried


def run(test: Awaitable[None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await test

    run_unhurried(within())


def test_a_request_goes_to_a_ready_pod_with_its_body_and_back() -> None:
    async def test() -> None:
        pod = await PodServer().start()
        async with activator_of() as front:
            front.lead(pod.backend())
            assert await front.ask("POST /v1/models/m:predict HTTP/1.1", body=b"x" * 3_000_000) == (
                200,
                b"hello",
            )
            assert pod.requests == [("POST /v1/models/m:predict HTTP/1.1", b"x" * 3_000_000)]
            assert front.held == []
        await pod.stop()

    run(test())


def test_requests_wait_for_the_first_pod_and_none_is_lost() -> None:
    async def test() -> None:
        async with activator_of() as front:
            front.lead()
            asking = [asyncio.create_task(front.ask("POST / HTTP/1.1", body=b"%d" % n)) for n in range(200)]
            await front.until_held(200)
            assert {*front.held} == {KEY}
            told = len(front.held)
            front.lead()  # to be told of pods is no reason to ask for them again
            await asyncio.sleep(0)
            assert len(front.held) == told
            pod = await PodServer().start()
            front.lead(pod.backend(is_ready=False))  # the kubelet does not know it yet: the activator asks it
            assert set(await asyncio.gather(*asking)) == {(200, b"hello")}
            assert sorted(int(body) for _, body in pod.requests) == [*range(200)]
            load = front.activator.load(KEY)
            assert load is not None
            assert (load.in_hand, load.requests) == (0, 200)
            assert load.busy_seconds > 0
            await pod.stop()

    run(test())


def test_a_revision_is_found_by_its_host_too_and_before_it_is_told_of() -> None:
    async def test() -> None:
        pod = await PodServer().start()
        async with activator_of() as front:
            host = f"Host: {KEY.name}.{KEY.namespace}.svc.cluster.local:80\r\n"
            asking = asyncio.create_task(front.ask(headers=host))
            await front.until_held(1)
            front.lead(pod.backend())
            assert await asking == (200, b"hello")
        await pod.stop()

    run(test())


@pytest.mark.parametrize(
    ("head", "headers", "status", "words"),
    [
        ("GET / HTTP/1.1", "Host: somewhere\r\n", 404, b"names no revision"),
        ("GET / HTTP/1.1", "Host: h\r\nK-Network-Probe: activator\r\n", 200, b"activator"),
        ("this is not HTTP", HEADERS, 400, b"no HTTP request"),
        (
            "POST / HTTP/1.1",
            HEADERS + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            400,
            b"no HTTP request",
        ),
        ("POST / HTTP/1.1", HEADERS + "Content-Length: 4\r\nContent-Length: 5\r\n", 400, b"no HTTP request"),
        ("POST / HTTP/1.1", HEADERS + "Transfer-Encoding: gzip, chunked\r\n", 400, b"no HTTP request"),
        ("GET / HTTP/1.1", HEADERS + f"Long: {'x' * 70_000}\r\n", 431, b"too long"),
        ("GET / HTTP/1.1", HEADERS + "A: b\r\n" * 300, 431, b"too long"),
    ],
    ids=[
        "nobody's",
        "probe",
        "malformed",
        "two lengths",
        "two lengths, too",
        "another coding",
        "long",
        "many",
    ],
)
def test_what_cannot_be_forwarded_is_answered(head: str, headers: str, status: int, words: bytes) -> None:
    async def test() -> None:
        async with activator_of() as front:
            front.lead()
            found, body = await front.ask(head, headers)
            assert found == status
            assert words in body

    run(test())


def test_who_waits_too_long_is_told_so() -> None:
    async def test() -> None:
        async with activator_of() as front:
            front.lead(timeout=0.05)
            assert await front.ask() == (504, b"activator request timeout\n")

    run(test())


def test_what_is_too_much_is_refused_with_a_time_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "MAX_WAITING", 2)

    async def test() -> None:
        async with activator_of() as front:
            front.lead()
            asking = [asyncio.create_task(front.ask()) for _ in range(2)]
            await front.until_held(2)
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(f"GET / HTTP/1.1\r\n{HEADERS}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: 1" in head
            writer.close()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await front.until_held(0)  # who goes away gives its place back

    run(test())


def test_requests_of_a_namespace_keep_so_many_bytes_and_leave_as_many_to_others() -> None:
    async def test() -> None:
        async with activator_of(max_kept_bytes=100_000) as front:
            front.lead()
            share = front.activator.shares.of(KEY.namespace)
            first = asyncio.create_task(front.ask("POST / HTTP/1.1", body=b"x" * 200_000))
            await front.until_held(1)
            async with asyncio.timeout(60):
                while not share.is_full:
                    await asyncio.sleep(0.005)
            assert (await front.ask())[0] == 503
            other, others = Key("other", "m-predictor-00001"), await PodServer().start()
            front.activator.update(other, Backends((others.backend(),), 0, 20.0))
            headers = HEADERS.replace(KEY.name, other.name).replace(KEY.namespace, other.namespace)
            assert await front.ask("POST / HTTP/1.1", headers, b"x" * 20_000) == (200, b"hello")
            await others.stop()
            pod = await PodServer().start()
            front.lead(pod.backend())
            assert await first == (200, b"hello")
            assert pod.requests[0][1] == b"x" * 200_000
            assert front.activator.shares.kept_bytes == 0
            await pod.stop()

    run(test())


def test_a_request_that_a_dying_pod_took_goes_to_another() -> None:
    async def test() -> None:
        dying = PodServer()

        async def die(first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
            front.lead(well.backend())
            writer.transport.abort()

        dying._answer = die
        await dying.start()
        well = await PodServer().start()
        async with activator_of() as front:
            front.lead(dying.backend())
            assert await front.ask("POST / HTTP/1.1", body=b"once") == (200, b"hello")
            assert dying.requests == well.requests == [("POST / HTTP/1.1", b"once")]
        await dying.stop()
        await well.stop()

    run(test())


def test_a_request_that_two_pods_died_of_gets_no_third() -> None:
    async def test() -> None:
        async def die(first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        dying = await PodServer(die).start()
        async with activator_of() as front:
            front.lead(dying.backend())
            assert (await front.ask())[0] == 502
            assert len(dying.requests) == 2
        await dying.stop()

    run(test())


def test_a_pod_that_takes_no_connections_is_passed_by() -> None:
    async def test() -> None:
        gone, well = await PodServer().start(), await PodServer().start()
        await gone.stop()
        async with activator_of() as front:
            front.lead(gone.backend(), well.backend())
            answers = await asyncio.gather(*(front.ask() for _ in range(20)))
            assert set(answers) == {(200, b"hello")}
        await well.stop()

    run(test())


def test_a_pod_has_no_more_requests_than_it_answers_at_once() -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def wait(
            first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
        ) -> None:
            await release.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        pods = [await PodServer(wait).start() for _ in range(2)]
        async with activator_of() as front:
            front.lead(*(pod.backend() for pod in pods), limit=2)
            asking = [asyncio.create_task(front.ask()) for _ in range(10)]
            await front.until_held(6)
            await asyncio.gather(*(pod.until_asked(2) for pod in pods))
            release.set()
            assert {status for status, _ in await asyncio.gather(*asking)} == {200}
            assert [pod.most_at_once for pod in pods] == [2, 2]
        for pod in pods:
            await pod.stop()

    run(test())


def test_answers_are_streamed_chunk_by_chunk_and_bodies_too() -> None:
    async def test() -> None:
        async def stream(
            first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
        ) -> None:
            assert body == b"abcdef"
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b"one", b"two"):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")

        pod = await PodServer(stream).start()
        async with activator_of() as front:
            front.lead(pod.backend())
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            for _ in range(2):  # on one connection
                writer.write(
                    f"POST / HTTP/1.1\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".encode()
                )
                await writer.drain()
                writer.write(b"3\r\ndef\r\n0\r\n\r\n")
                assert await read_answer(reader) == (200, b"onetwo")
            writer.close()
            assert pod.connections == 1  # it was kept
        await pod.stop()

    run(test())


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def test() -> None:
        async def echo(
            first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
        ) -> None:
            path = first.split()[1].encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

        pod = await PodServer(echo).start()
        async with activator_of() as front:
            front.lead()
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write("".join(f"GET /{n} HTTP/1.1\r\n{HEADERS}\r\n" for n in range(5)).encode())
            await front.until_held(1)
            front.lead(pod.backend())
            assert [(await read_answer(reader))[1] for _ in range(5)] == [b"/%d" % n for n in range(5)]
            writer.close()
        await pod.stop()

    run(test())


def test_a_head_alone_and_an_answer_that_ends_with_its_connection_are_passed_on() -> None:
    async def test() -> None:
        async def answer(
            first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
        ) -> None:
            if first.startswith("HEAD"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
            else:
                writer.write(b"HTTP/1.0 200 OK\r\n\r\nto the end")
                writer.close()

        pod = await PodServer(answer).start()
        async with activator_of() as front:
            front.lead(pod.backend())
            assert await front.ask("HEAD / HTTP/1.1") == (200, b"")
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(f"GET / HTTP/1.1\r\n{HEADERS}\r\n".encode())
            assert (await reader.read()).endswith(b"to the end")
            writer.close()
        await pod.stop()

    run(test())


def test_a_pod_hears_that_the_client_went_away() -> None:
    async def test() -> None:
        began = asyncio.Event()

        async def wait(
            first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
        ) -> None:
            began.set()

        pod = await PodServer(wait).start()
        async with activator_of() as front:
            front.lead(pod.backend(), limit=1)
            asking = asyncio.create_task(front.ask())
            await began.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            second = asyncio.create_task(front.ask())  # has the place of the first
            await pod.until_asked(2)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
        await pod.stop()

    run(test())


def test_a_connection_that_the_pod_ended_meanwhile_costs_no_request() -> None:
    async def test() -> None:
        pod = await PodServer().start()
        async with activator_of() as front:
            front.lead(pod.backend())
            assert (await front.ask())[0] == 200
            await pod.stop()
            again = await PodServer(port=pod.port).start()
            assert await front.ask() == (200, b"hello")
            await again.stop()

    run(test())


def test_who_is_idle_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "IDLE_SECONDS", 0.05)

    async def test() -> None:
        async with activator_of() as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            assert await reader.read() == b""
            writer.close()

    run(test())


def test_a_revision_that_is_no_more_is_forgotten() -> None:
    async def test() -> None:
        pod = await PodServer().start()
        async with activator_of() as front:
            front.lead(pod.backend())
            assert (await front.ask())[0] == 200
            front.activator.forget(KEY)
            assert front.activator.load(KEY) is None
        await pod.stop()

    run(test())


def test_who_only_keeps_connections_open_keeps_nobody_out() -> None:
    async def test() -> None:
        pod = await PodServer().start()
        async with activator_of(max_connections=4) as front:
            front.lead()
            asking = asyncio.create_task(front.ask())
            await front.until_held(1)
            hogs = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(9)]
            for hog in hogs[::2]:
                hog[1].write(PREFACE)
            late = asyncio.create_task(front.ask())
            await front.until_held(2)
            front.lead(pod.backend())
            assert await asyncio.gather(asking, late) == [(200, b"hello")] * 2
            for _, writer in hogs:
                writer.close()
        await pod.stop()

    run(test())


def test_a_pod_that_answers_more_than_it_was_asked_answers_nobody_elses_request() -> None:
    async def answer(first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" * 2)

    async def test() -> None:
        pod = await PodServer(answer).start()
        async with activator_of() as front:
            front.lead(pod.backend())
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(f"GET / HTTP/1.1\r\n{HEADERS}\r\n".encode())
            assert (await read_answer(reader))[0] == 502
            writer.close()
        await pod.stop()

    run(test())


def test_an_answer_that_nobody_reads_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "LOOK_SECONDS", 0.2)
    size = 16_000_000

    async def long(first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(size))

    async def test() -> None:
        pod = await PodServer(long).start()
        async with activator_of() as front:
            front.lead(pod.backend(), limit=1)
            with socket.create_connection(("127.0.0.1", front.port)) as slow:
                slow.sendall(f"GET / HTTP/1.1\r\n{HEADERS}\r\n".encode())
                await pod.until_asked(1)
                waiting = asyncio.create_task(front.ask())
                await pod.until_asked(2)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
        await pod.stop()

    run(test())
