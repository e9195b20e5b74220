"""Ask pods for their load: one connection a pod, which is kept, and an answer within a second.

Source: the pod's side is `GET /` at LOAD_PORT, records.Load as JSON.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson

from proa.ml.serving.kinds import LOAD_PORT
from proa.ml.serving.records import Load
from proa.ml.serving.settings import Dial

ANSWER_SECONDS = 1.0
MAX_ASKED = 64
"""Pods that are asked at the same moment."""
MAX_ANSWER_BYTES = 8 * 1024
MAX_COUNT = 10**15
_REQUEST = b"GET / HTTP/1.1\r\nHost: load\r\nUser-Agent: proa-autoscaler\r\nAccept: application/json\r\n\r\n"

_FAILURES = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoLoad(Exception):
    """A pod did not tell its load: why."""


class LoadClient:
    """Connections to pods, by address."""

    def __init__(self, dial: Dial, port: int = LOAD_PORT) -> None:
        self._dial = dial
        self._port = port
        self._connections: dict[str, _Connection] = {}
        self._asking = asyncio.Semaphore(MAX_ASKED)

    async def ask(self, address: str) -> Load:
        """Return what a pod tells; raise NoLoad."""
        async with self._asking:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    kept = self._connections.pop(address, None)
                    if kept is not None:
                        with suppress(*_FAILURES):
                            return await self._ask(address, kept)
                    sock = await self._dial(address, self._port)
                    sock.setblocking(False)
                    opened = await asyncio.open_connection(sock=sock, limit=MAX_ANSWER_BYTES)
                    return await self._ask(address, opened)
            except _FAILURES as error:
                raise NoLoad(f"{address}:{self._port}: {error or type(error).__name__}") from None

    def forget(self, address: str) -> None:
        """Close the connection to a pod."""
        kept = self._connections.pop(address, None)
        if kept is not None:
            kept[1].close()

    def close(self) -> None:
        """Close all connections."""
        for address in [*self._connections]:
            self.forget(address)

    async def _ask(self, address: str, connection: _Connection) -> Load:
        reader, writer = connection
        is_done = False
        try:
            writer.write(_REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            status, headers = _read_head(head)
            length = int(headers.get("content-length", "-1"))
            if status != 200 or not 0 < length <= MAX_ANSWER_BYTES:
                raise ValueError(f"status {status}, {length} bytes")
            load = read_load(await reader.readexactly(length))
            is_done = True
        finally:
            if not is_done or headers.get("connection", "").lower() == "close":
                writer.close()
            else:
                self._connections[address] = connection
        return load


def read_load(body: bytes) -> Load:
    """Return the load that a body tells; raise ValueError."""
    told = orjson.loads(body)
    if not isinstance(told, dict):
        raise ValueError("the answer is no object")
    try:
        load = Load(
            str(told["instance"]),
            float(told["seconds"]),
            float(told["busy_seconds"]),
            int(told["requests"]),
            int(told["in_hand"]),
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"the answer tells no load: {error!r}") from None
    if not (0 <= load.seconds < 1e12 and 0 <= load.busy_seconds < 1e15) or not (
        0 <= load.requests < MAX_COUNT and 0 <= load.in_hand < MAX_COUNT
    ):
        raise ValueError("the answer's numbers are out of bounds")
    return load


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and headers, names in lower case; raise ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1."):
        raise ValueError(f"no HTTP: {first[:40]!r}")
    pairs = (line.partition(":") for line in lines if line)
    return int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}
