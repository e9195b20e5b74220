"""gRPC through the activator: grpcio's client and server, with ours between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from hpack import Encoder

from proa.ml.serving.activator import client_connection, http2
from proa.ml.serving.activator.http2_frames import (
    END_HEADERS,
    HEADERS,
    PREFACE,
    SETTINGS,
    make_frame,
)
from proa.ml.serving.records import Backend, Probe
from support.activated import KEY, Front, activator_of
from support.virtual_time import run_unhurried

PATH = "/inference.GRPCInferenceService/ModelInfer"
METADATA = (("knative-serving-revision", KEY.name), ("knative-serving-namespace", KEY.namespace))


class Model:
    """A gRPC server that answers what it is asked, and what is streamed to it piece by piece."""

    def __init__(self) -> None:
        self.asked = 0
        self.server = grpc.aio.server()
        self.port = 0

    async def start(self) -> Model:
        handlers = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            "Stream": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return self

    def backend(self, *, is_ready: bool = False) -> Backend:
        return Backend("model", "127.0.0.1", 1, self.port, Probe(self.port), is_ready)

    async def _infer(self, request: bytes, context: Any) -> bytes:
        self.asked += 1
        return request[::-1]

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()


def run(test: Callable[[Front, Model], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            model = await Model().start()
            async with activator_of() as front:
                await test(front, model)
            await model.server.stop(None)

    run_unhurried(within())


def channel(front: Front, authority: str = "somewhere") -> Any:
    options = [("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{front.port}", options=options)


def test_calls_wait_for_a_pod_and_are_answered_by_it() -> None:
    async def test(front: Front, model: Model) -> None:
        front.lead()
        async with channel(front) as to:
            calls = [
                asyncio.ensure_future(to.unary_unary(PATH)(b"abc%d" % n, metadata=METADATA))
                for n in range(20)
            ]
            await front.until_held(1)  # it is the connection that waits
            assert {*front.held} == {KEY}
            front.lead(model.backend())
            assert await asyncio.gather(*calls) == [(b"abc%d" % n)[::-1] for n in range(20)]
            assert model.asked == 20

    run(test)


def test_messages_of_any_length_go_through_once_there_is_a_pod_both_ways() -> None:
    async def test(front: Front, model: Model) -> None:
        front.lead(model.backend(is_ready=True))
        async with channel(front, f"{KEY.name}.{KEY.namespace}.svc.cluster.local") as to:
            long = bytes(range(256)) * 12_000
            assert await to.unary_unary(PATH)(long) == long[::-1]
            call = to.stream_stream("/inference.GRPCInferenceService/Stream")()
            for word in (b"one", b"two"):
                await call.write(word)
                assert await call.read() == word.upper()
            await call.done_writing()

    run(test)


@pytest.mark.parametrize(
    ("authority", "timeout", "code", "words"),
    [
        ("somewhere", 20.0, grpc.StatusCode.NOT_FOUND, "names no revision"),
        (
            f"{KEY.name}.{KEY.namespace}.svc",
            0.05,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "activator request timeout",
        ),
    ],
    ids=["nobody's", "late"],
)
def test_a_refusal_is_in_grpcs_words(
    authority: str, timeout: float, code: grpc.StatusCode, words: str
) -> None:
    async def test(front: Front, model: Model) -> None:
        front.lead(timeout=timeout)
        async with channel(front, authority) as to:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await to.unary_unary(PATH)(b"abc")
            assert failed.value.code() == code
            assert words in str(failed.value.details())

    run(test)


def test_who_goes_away_gives_its_place_back() -> None:
    async def test(front: Front, model: Model) -> None:
        front.lead()
        async with channel(front) as to:
            call = to.unary_unary(PATH)(b"abc", metadata=METADATA)
            await front.until_held(1)
            call.cancel()
        await front.until_held(0)

    run(test)


def test_a_client_that_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "IDLE_SECONDS", 0.05)

    async def test(front: Front, model: Model) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(PREFACE)
        assert await reader.read() == make_frame(SETTINGS, 0, 0)
        writer.close()

    run(test)


def test_what_is_kept_for_a_pod_that_takes_all_and_says_nothing_is_bounded() -> None:
    async def test(front: Front, model: Model) -> None:
        taken, began = 0, asyncio.Event()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal taken
            while data := await reader.read(1 << 16):
                began.set()
                taken += len(data)
            writer.close()

        silent = await asyncio.start_server(take, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        front.lead(Backend("silent", "127.0.0.1", port, port, Probe(port), is_ready=True))
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        headers = Encoder().encode([(":method", "POST"), (":path", PATH), (":scheme", "http"), *METADATA])
        writer.write(PREFACE + make_frame(SETTINGS, 0, 0) + make_frame(HEADERS, END_HEADERS, 1, headers))
        await began.wait()
        writer.write(make_frame(0, 0, 1, bytes(16_000)) * 600)
        with suppress(ConnectionResetError):
            await reader.read()  # to its end
        assert taken < 4 * http2.MAX_KEPT_BYTES
        writer.close()
        silent.close()
        while front.activator.shares.kept_bytes:
            await asyncio.sleep(0.005)

    run(test)
