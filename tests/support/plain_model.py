"""A model server as anybody may write one: `python plain_model.py NAME` answers every request with its name.

It runs in containers, so it is a program of its own, of the standard library. When asked to end it serves for a moment
yet, as long as somebody may not have heard of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

PORT = 8080
DRAIN_SECONDS = 2.0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests until the connection ends."""
    body = f'{{"predictions": ["{sys.argv[1]}"]}}'.encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            lengths = [line for line in head.split("\r\n") if line.startswith("content-length:")]
            await reader.readexactly(int(lengths[0].partition(":")[2]) if lengths else 0)
            writer.write(answer % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Serve until told to end."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await asyncio.start_server(serve, "", PORT)
    await ending.wait()
    await asyncio.sleep(DRAIN_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
