"""Notice that the time of day has jumped: the clock was set, or the machine has slept.

Timers count the time that the process has run, so whatever waits for a time of day has to look again then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 10.0
TOLERANCE_SECONDS = 2.0
"""What the clock may gain or lose in a period without having jumped."""


async def watch_clock(
    jumped: Callable[[], None],
    *,
    now: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `jumped` after each jump, for ever; it is noticed within ten seconds."""
    offset = now() - monotonic()
    while True:
        await sleep(PERIOD_SECONDS)
        change = now() - monotonic() - offset
        offset += change
        if abs(change) > TOLERANCE_SECONDS:
            logger.warning("the clock has jumped by %.0f s", change)
            jumped()
