"""A service's sockets before, while and after it is served."""

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from proa.client.fake import FakeClient
from proa.ml.grpc.channel import call
from proa.ml.grpc.door import Door
from proa.ml.grpc.status import CallFailed
from proa.ml.tuning.grpc.messages import KATIB
from proa.ml.tuning.grpc.serving import serve_db_manager
from proa.ml.tuning.observations.observations import open_observations

CHECK = "/grpc.health.v1.Health/Check"


async def dial(host: str, port: int):
    return await asyncio.open_connection(host, port)


def test_what_connects_before_it_is_served_waits_and_after_it_too(tmp_path):
    async def go() -> None:
        client, door = FakeClient(), Door()
        observations = await open_observations(tmp_path / "tuning.db")
        socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        addresses = [sock.getsockname() for sock in socks]

        def check(number: int) -> asyncio.Task:
            return asyncio.create_task(call(KATIB, dial, addresses[number], CHECK, {}, 10.0))

        door.listen(socks[0], is_host=True)
        closed = door.listen(socks[1])
        closed.close()
        with pytest.raises(CallFailed, match="UNAVAILABLE"):
            await check(1)
        for _ in range(2):
            early = check(0)
            await asyncio.sleep(0)
            async with AsyncExitStack() as stack:
                await serve_db_manager(stack, client, observations, door)
                assert await early == {"status": "SERVING"}
                late = door.listen(socks[2].dup())
                assert await check(2) == {"status": "SERVING"}
                late.close()
        socks[2].close()
        with pytest.raises(CallFailed, match="UNAVAILABLE"):
            await check(2)
        await observations.close()
        socks[0].close()

    asyncio.run(go())
