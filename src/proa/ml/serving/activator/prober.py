"""Ask pods that start whether they answer, every 20 ms: the kubelet asks once a second at best.

Only while requests wait for a revision, and only pods of which nobody knows it yet.
"""

from __future__ import annotations

import asyncio

from proa.ml.serving.activator.dialing import dialed
from proa.ml.serving.activator.waiting_room import WaitingRoom
from proa.ml.serving.records import Backend
from proa.ml.serving.settings import Dial

PERIOD_SECONDS = 0.02
LONG_PERIOD_SECONDS = 0.25
"""After QUICK_SECONDS: a pod that loads for minutes is not asked fifty times a second."""
QUICK_SECONDS = 10.0
ASK_SECONDS = 1.0
MAX_ASKED = 16
_MAX_HEAD_BYTES = 16 * 1024


async def ask_until_none_waits(room: WaitingRoom, dial: Dial) -> None:
    """Ask pods, and tell the room of those that answer, until nobody waits or there is none left to ask."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while room.waiting and (slots := room.unasked):
        asked = slots[:MAX_ASKED]
        answers = await asyncio.gather(*(is_answering(slot.backend, dial) for slot in asked))
        for slot, answers_now in zip(asked, answers, strict=True):
            if answers_now:
                room.answered(slot)
        passed = loop.time() - began
        await asyncio.sleep(PERIOD_SECONDS if passed < QUICK_SECONDS else LONG_PERIOD_SECONDS)


async def is_answering(backend: Backend, dial: Dial) -> bool:
    """Tell whether a pod answers as its readiness probe asks, or takes a connection where that is not HTTP."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            sock = await dialed(dial, backend.address, backend.probe.port)
            if not backend.probe.path:
                sock.close()
                return True
            reader, writer = await asyncio.open_connection(sock=sock, limit=_MAX_HEAD_BYTES)
            try:
                writer.write(_make_request(backend))
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, EOFError, ValueError):
        return False
    status = line.split(b" ", 2)[1:2]
    return bool(status) and status[0].isdigit() and 200 <= int(status[0]) < 400


def _make_request(backend: Backend) -> bytes:
    host = backend.probe.host or (f"[{backend.address}]" if ":" in backend.address else backend.address)
    lines = [f"GET {backend.probe.path} HTTP/1.1", f"Host: {host}", "User-Agent: kube-probe/activator"]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode("latin-1", "replace")
