"""Join two byte streams: what arrives on either goes out on the other, each direction ending on its own."""

from __future__ import annotations

import asyncio

from proa.client.kubelet_api import ByteStream


async def splice(left: ByteStream, right: ByteStream) -> None:
    """Copy both ways until both directions have ended; a broken connection ends both. Closes both."""
    tasks = [asyncio.ensure_future(_copy(left, right)), asyncio.ensure_future(_copy(right, left))]
    try:
        await asyncio.gather(*tasks)
    except ConnectionError:
        pass  # either side went away: the other is closed below
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(left.close(), right.close(), return_exceptions=True)


async def splice_whole(left: ByteStream, right: ByteStream) -> None:
    """The same for streams that cannot end one way only (TLS): the end of either direction is that of both."""
    tasks = [asyncio.ensure_future(_copy(left, right)), asyncio.ensure_future(_copy(right, left))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(left.close(), right.close(), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome


async def _copy(source: ByteStream, target: ByteStream) -> None:
    while data := await source.read():
        await target.write(data)
    await target.close_write()
