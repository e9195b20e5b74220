"""Use a client's connection, once it is upgraded, as one end of a splice."""

from __future__ import annotations

from proa.apiserver.streams.context import UpgradedConnection
from proa.client.kubelet_api import ByteStream


class Upgraded:
    """An UpgradedConnection as a ByteStream; it cannot end one side only."""

    def __init__(self, connection: UpgradedConnection) -> None:
        self._connection = connection

    async def read(self, limit: int = 65536) -> bytes:
        return await self._connection.read()

    async def write(self, data: bytes) -> None:
        await self._connection.write(data)

    async def close_write(self) -> None:
        await self._connection.close()

    async def close(self) -> None:
        await self._connection.close()


_: type[ByteStream] = Upgraded
