"""Pods are asked for their load, each on a connection that is kept, and believed only what can be."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest

from proa.ml.serving.records import Load
from proa.ml.serving.scaling.load_client import LoadClient, NoLoad, read_load
from proa.ml.serving.scaling.path_probe import until_in_path
from proa.ml.serving.settings import dial_directly

LOAD = b'{"instance":"a","seconds":2.5,"busy_seconds":1.0,"requests":4,"in_hand":1}'


class Pod:
    """Answers each request with the next of `answers`, the last one again and again."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = [*answers]
        self.connections = 0
        self.heads: list[bytes] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Pod:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(answer)
                if b"close" in answer:
                    break
        except (EOFError, OSError):
            pass
        writer.close()


def answer(body: bytes, more: str = "", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def test_a_pod_is_asked_on_one_connection_and_on_another_where_it_ended_that() -> None:
    async def test() -> None:
        async with Pod(answer(LOAD), answer(LOAD, "Connection: close\r\n"), answer(LOAD)) as pod:
            client = LoadClient(dial_directly, pod.port)
            for _ in range(4):
                assert await client.ask("127.0.0.1") == Load("a", 2.5, 1.0, 4, 1)
            assert pod.connections == 2
            client.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    "said",
    [
        answer(b"nope"),
        answer(b"[]"),
        answer(b'{"instance":"a"}'),
        answer(LOAD, status="500 No"),
        answer(b"x" * 10_000),
        b"what?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 4000 + b"\r\n",
    ],
    ids=["no JSON", "no object", "too little", "an error", "too long", "no HTTP", "long head"],
)
def test_what_is_no_load_is_none(said: bytes) -> None:
    async def test() -> None:
        async with Pod(said) as pod:
            client = LoadClient(dial_directly, pod.port)
            with pytest.raises(NoLoad):
                await client.ask("127.0.0.1")
            client.close()

    asyncio.run(test())


def test_a_pod_that_takes_no_connections_tells_nothing() -> None:
    async def refuse(host: str, port: int) -> socket.socket:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(NoLoad, match="nobody there"):
        asyncio.run(LoadClient(refuse).ask("10.244.1.9"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("seconds", -1), ("busy_seconds", 1e300), ("requests", -4), ("requests", 1e300), ("in_hand", "many")],
)
def test_numbers_out_of_bounds_are_refused(field: str, value: object) -> None:
    told = {"instance": "a", "seconds": 1.0, "busy_seconds": 1.0, "requests": 1, "in_hand": 1, field: value}
    with pytest.raises(ValueError, match=r"."):
        read_load(orjson.dumps(told))


def test_the_activator_is_in_the_path_when_it_answers_at_the_services_address() -> None:
    async def test() -> None:
        async with Pod(answer(b"hello"), answer(b"activator")) as pod:
            await asyncio.wait_for(until_in_path(dial_directly, "127.0.0.1", pod.port), 60)
            assert len(pod.heads) == 2
            assert b"k-network-probe: activator" in pod.heads[0]

    asyncio.run(test())
