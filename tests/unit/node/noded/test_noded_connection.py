"""A connection to noded is made again, whatever goes wrong while it is."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from proa.node.noded.connection import NodedConnection
from proa.node.runtimes.protocol import RuntimeFailure


class StandIn:
    """A noded that answers everything but what it `lacks` with its name, until it is ended."""

    def __init__(self, directory: Path, name: str, lacks: str = "") -> None:
        self._path = directory / "noded.sock"
        self._name = name
        self._lacks = lacks
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def begin(self) -> None:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        self._server = await asyncio.start_unix_server(self._answer, sock=listener)

    async def end(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while line := await reader.readline():
            request = json.loads(line)
            answer: dict[str, Any] = {"result": {"noded": self._name}}
            if request["do"] == self._lacks:
                answer = {
                    "error": {"reason": "UnknownOperation", "message": f"noded does not know '{self._lacks}'"}
                }
            writer.write(json.dumps({"request": request["request"], **answer}).encode() + b"\n")


def test_a_noded_that_ends_is_started_again_even_when_that_fails_at_first(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = StandIn(tmp_path, "first"), StandIn(tmp_path, "second")
        attempts: list[str] = []

        async def revive() -> bool:
            attempts.append("x")
            if len(attempts) == 1:
                raise OSError(28, "No space left on device")
            await second.begin()
            return True

        await first.begin()
        connection = await NodedConnection.open(tmp_path, revive)
        renewals = connection.renewals()
        await first.end()
        async with asyncio.timeout(60):
            await anext(renewals)
            assert (await connection.ask("status", {}))[0] == {"noded": "second"}
        assert len(attempts) == 2
        await connection.close()
        await second.end()

    asyncio.run(main())


def test_a_noded_of_another_version_that_lacks_something_is_told_with_what_helps(tmp_path: Path) -> None:
    async def main() -> None:
        old = StandIn(tmp_path, "old", lacks="usage")
        await old.begin()
        connection = await NodedConnection.open(tmp_path, lambda: asyncio.sleep(0, False))
        with pytest.raises(
            RuntimeFailure, match=r"noded does not know 'usage'.*; `proa down` and then `proa up`"
        ):
            await connection.ask("usage", {})
        await connection.close()
        await old.end()

    asyncio.run(main())
