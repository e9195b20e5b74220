"""A server of the gRPC health protocol: `python grpc_health.py PORT [SECONDS]` is healthy, for so long.

It runs in containers too, so it is a program of its own and needs h2 alone. Service "" is the one that it knows.
"""

from __future__ import annotations

import asyncio
import sys
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
NOT_FOUND, UNIMPLEMENTED = "5", "12"


class HealthServer:
    """Answers `Check`; `healthy_until` is on the monotonic clock."""

    def __init__(self, healthy_until: float = float("inf")) -> None:
        self.healthy_until = healthy_until
        self.user_agents: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http2.initiate_connection()
        writer.write(http2.data_to_send())
        paths, bodies = dict[int, str](), dict[int, bytes]()
        try:
            while data := await reader.read(65536):
                for event in http2.receive_data(data):
                    if isinstance(event, RequestReceived):
                        headers = dict(event.headers)
                        paths[event.stream_id], bodies[event.stream_id] = headers[":path"], b""
                        self.user_agents.append(headers["user-agent"])
                    elif isinstance(event, DataReceived):
                        bodies[event.stream_id] += event.data
                    elif isinstance(event, StreamEnded):
                        self._answer(http2, event.stream_id, paths[event.stream_id], bodies[event.stream_id])
                writer.write(http2.data_to_send())
        except ConnectionError:
            return
        finally:
            writer.close()

    def _answer(self, http2: H2Connection, stream: int, path: str, body: bytes) -> None:
        head = [(":status", "200"), ("content-type", "application/grpc")]
        if path != "/grpc.health.v1.Health/Check":
            failed = [("grpc-status", UNIMPLEMENTED), ("grpc-message", "unknown service")]
            http2.send_headers(stream, [*head, *failed], end_stream=True)
        elif len(body) > 5:
            failed = [("grpc-status", NOT_FOUND), ("grpc-message", "unknown%20service")]
            http2.send_headers(stream, [*head, *failed], end_stream=True)
        else:
            health = SERVING if time.monotonic() < self.healthy_until else NOT_SERVING
            http2.send_headers(stream, head)
            http2.send_data(stream, b"\0" + len(health).to_bytes(4, "big") + health)
            http2.send_headers(stream, [("grpc-status", "0")], end_stream=True)


async def main(port: int, seconds: float) -> None:
    """Serve for ever."""
    server = HealthServer(time.monotonic() + seconds)
    async with await asyncio.start_server(server.serve, "0.0.0.0", port):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")))
