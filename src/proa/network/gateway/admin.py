"""Ask Envoy's admin interface, which is a socket in its folder that nobody but us reaches."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httptools
import orjson

ANSWER_SECONDS = 5.0
MAX_BYTES = 64 << 20


class AdminError(Exception):
    """Envoy does not answer, or not with what was asked for."""


class _Answer:
    """What httptools finds in an answer."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > MAX_BYTES:
            raise AdminError("the answer is too long")

    def on_message_complete(self) -> None:
        self.is_complete = True


class Admin:
    """The interface below `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    async def get(self, path: str) -> Any:
        """Return the decoded JSON; raise AdminError."""
        return orjson.loads(await self._send("GET", path))

    async def post(self, path: str) -> None:
        """Have something done; raise AdminError."""
        await self._send("POST", path)

    async def _send(self, method: str, path: str) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._exchange(method, path)
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            raise AdminError(f"{method} {path}: {error!r}") from error

    async def _exchange(self, method: str, path: str) -> bytes:
        directory = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{self._name}")
        finally:
            os.close(directory)
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: envoy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            while not answer.is_complete and (data := await reader.read(65536)):
                parser.feed_data(data)
            if not answer.is_complete or parser.get_status_code() != 200:
                raise AdminError(f"{method} {path} was not answered with 200")
            return bytes(answer.body)
        finally:
            writer.close()
