"""A model server in this process, on ports of its own, with models that a test makes; and a client of plain HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import orjson

from proa.ml.serving.server.formats.protocol import InputError, TensorSpec
from proa.ml.serving.server.options import Options
from proa.ml.serving.server.serving import ModelServer, Ports
from support.virtual_time import run_unhurried

OPTIONS = Options(host="127.0.0.1", http_port=0, grpc_port=0, load_port=0, model_name="m", quiet_seconds=0.1)


class Doubler:
    """A model that doubles numbers, and gives back anything else."""

    platform = "doubler"
    inputs = (TensorSpec("x", "FP64", (-1, -1)),)
    outputs = (TensorSpec("y", "FP64", (-1, -1)),)

    def __init__(
        self,
        *,
        is_batchable: bool = True,
        seconds: float = 0.0,
        refused: float | None = None,
        go_on: threading.Event | None = None,
    ) -> None:
        self.is_batchable = is_batchable
        self.calls: list[tuple[int, ...]] = []
        self.is_closed = False
        self.seen: dict[str, Any] = {}
        self._seconds = seconds
        self._refused = refused
        self._go_on = go_on

    def predict(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Double, after a while or when it may go on; refuse an input that has the number it does not take."""
        time.sleep(self._seconds)
        if self._go_on is not None and not self._go_on.wait(60):
            raise InputError("nobody has let it go on")
        self.seen = dict(inputs)
        array = next(iter(inputs.values()))
        self.calls.append(array.shape)
        if self._refused is not None and (array == self._refused).any():
            raise InputError(f"input x: {self._refused} is not taken")
        if array.dtype.kind in "fiu":
            return {"y": array * array.dtype.type(2)}
        return {"y": array}

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body's JSON."""
        return orjson.loads(self.body)


class Client:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] = {}) -> Answer:
        """Ask, and wait for the answer."""
        self.send(method, path, body, headers)
        return await self.answer()

    def send(self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] = {}) -> None:
        """Send a request."""
        data = body if isinstance(body, bytes) else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + data)

    async def answer(self) -> Answer:
        """Read one answer."""
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = [line.partition(": ") for line in head[1:] if line]
            headers = {name.lower(): value for name, _, value in pairs}
            return Answer(int(head[0].split()[1]), headers, await self._body(headers))

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", 0)))
        pieces = []
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            pieces.append((await self.reader.readexactly(size + 2))[:-2])
            if not size:
                return b"".join(pieces)


class Running(NamedTuple):
    """A server, and where it answers; its clients are let go at the end."""

    server: ModelServer
    ports: Ports
    clients: list[Client]

    async def until_in_hand(self, requests: int) -> None:
        """Return once so many requests wait for their answers."""
        async with asyncio.timeout(60):
            while self.server.load.in_hand != requests:
                await asyncio.sleep(0.001)

    async def connect(self, port: int = 0) -> Client:
        """Return a new connection; to the HTTP port, unless told."""
        client = Client(*await asyncio.open_connection("127.0.0.1", port or self.ports.http))
        self.clients.append(client)
        return client

    async def ask(self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] = {}) -> Answer:
        """Ask over a connection of its own."""
        client = await self.connect()
        answer = await client.ask(method, path, body, headers)
        client.writer.close()
        return answer


def serve(
    body: Callable[[Running], Awaitable[None]],
    models: Any = None,
    **options: Any,
) -> None:
    """Run a test's body beside a server. `models`: one model, or a function of a name; None: by their formats."""

    def open_model(name: str, folder: Path, given: Options) -> Any:
        return models(name) if callable(models) and not hasattr(models, "predict") else models

    async def go() -> None:
        clients: list[Client] = []
        server = ModelServer(OPTIONS._replace(**options), None if models is None else open_model)
        server.http.step_seconds = 0.02
        try:
            ports = await server.listen()
            await server.repository.load_all()
            await body(Running(server, ports, clients))
        finally:
            for client in clients:
                client.writer.transport.abort()
            await server.close()

    run_unhurried(go())


def tensor(
    data: Any, datatype: str = "FP64", shape: Any = None, name: str = "x", **more: Any
) -> dict[str, Any]:
    """Return an input of V2; the shape is the data's unless given."""
    found = list(numpy.shape(data)) if shape is None else shape
    return {"name": name, "shape": found, "datatype": datatype, "data": data, **more}
