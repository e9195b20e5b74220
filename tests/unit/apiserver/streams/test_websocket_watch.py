"""A watch over a WebSocket, as browsers ask for it: each event is a text message."""

from __future__ import annotations

import asyncio
import socket

import orjson
from wsproto import ConnectionType, WSConnection, events

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.protocol import Request, Response, User
from proa.httpd.server import HttpServer
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def messages(reader: asyncio.StreamReader, client: WSConnection, count: int) -> list[str]:
    found: list[str] = []
    text = ""
    while len(found) < count:
        data = await reader.read(65536)
        assert data, "the server ended it"
        client.receive_data(data)
        for event in client.events():
            assert not isinstance(event, events.RejectConnection)
            if isinstance(event, events.TextMessage):
                text += event.data
                if event.message_finished:
                    found.append(text)
                    text = ""
    return found


def test_each_event_is_a_text_message_and_the_client_ends_it() -> None:
    async def scenario() -> None:
        api = ApiServer(MemoryStore(), DEFINITIONS)

        async def handle(request: Request) -> Response:
            request.user = ADMIN
            return await api.handle(request)

        async def create(path: str, name: str) -> None:
            body = orjson.dumps({"metadata": {"name": name}})
            assert (await api.handle(Request("POST", path, body=body, user=ADMIN))).status == 201

        await create("/api/v1/namespaces", "default")
        await create(CONFIG_MAPS, "a")
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(handle)
        await server.serve(listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        client = WSConnection(ConnectionType.CLIENT)
        writer.write(client.send(events.Request(host="x", target=f"{CONFIG_MAPS}?watch=1")))
        (first,) = await messages(reader, client, 1)
        await create(CONFIG_MAPS, "b")
        (second,) = await messages(reader, client, 1)
        seen = [orjson.loads(text) for text in (first, second)]
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in seen] == [
            ("ADDED", "a"),
            ("ADDED", "b"),
        ]
        writer.write(client.send(events.CloseConnection(code=1000)))
        while await reader.read(65536):
            pass  # the server closes too
        writer.close()
        await writer.wait_closed()
        await server.close()

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())
