"""Find out whether the cluster leads a Service's requests to the activator: ask there until the activator answers.

The header is Knative's (knative.dev/networking, pkg/http/header): K-Network-Probe: activator, answered by its name.
"""

from __future__ import annotations

import asyncio

from proa.ml.serving.settings import Dial

PATH = "/healthz"
HEADER, ACTIVATOR = "k-network-probe", "activator"
ASK_SECONDS = 0.5
"""For one answer, and the pause after one that was a pod's doubles up to it."""
FIRST_PAUSE_SECONDS = 0.02
_MAX_BYTES = 16 * 1024


async def until_in_path(dial: Dial, host: str, port: int) -> None:
    """Return when the activator has answered at the Service's address; a pod that answers is passed by."""
    pause = FIRST_PAUSE_SECONDS
    while not await _is_activator(dial, host, port):
        await asyncio.sleep(pause)
        pause = min(2 * pause, ASK_SECONDS)


async def _is_activator(dial: Dial, host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            sock = await dial(host, port)
            sock.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=sock, limit=_MAX_BYTES)
            try:
                writer.write(_make_request(host))
                answer = await reader.read(_MAX_BYTES)
            finally:
                writer.close()
    except (OSError, EOFError, ValueError):
        return False
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200") and body == ACTIVATOR.encode()


def _make_request(host: str) -> bytes:
    head = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n{HEADER}: {ACTIVATOR}\r\nConnection: close\r\n\r\n"
    return head.encode()
