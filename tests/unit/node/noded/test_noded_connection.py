"""A connection to noded is made again, whatever goes wrong while it is."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from proa.node.noded.connection import NodedConnection


class StandIn:
    """A noded that answers `subscribe` with its name, until it is ended."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / "noded.sock"
        self._name = name
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
            number = json.loads(line)["request"]
            writer.write(json.dumps({"request": number, "result": {"noded": self._name}}).encode() + b"\n")


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
        async with asyncio.timeout(5):
            await anext(renewals)
            assert (await connection.ask("status", {}))[0] == {"noded": "second"}
        assert len(attempts) == 2
        await connection.close()
        await second.end()

    asyncio.run(main())
