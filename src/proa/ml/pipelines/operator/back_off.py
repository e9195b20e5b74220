"""Try again, ever more slowly, what may succeed later by itself; say so while it does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proa.ml.database.errors import Unavailable
from proa.objects.errors import ApiError, TooManyRequests

logger = logging.getLogger(__name__)

FIRST_SECONDS = 0.1
T = TypeVar("T")


def may_pass(error: Exception) -> bool:
    """Tell whether the same thing may succeed later: the server or database is away, or a quota is used up."""
    if isinstance(error, ApiError):
        return error.code >= 500 or isinstance(error, TooManyRequests) or error.code == 409 or is_quota(error)
    return isinstance(error, Unavailable)


def is_quota(error: ApiError) -> bool:
    """Tell whether a ResourceQuota is used up: other pods will end."""
    return error.code == 403 and "exceeded quota" in error.message


async def keep_trying(
    what: str,
    act: Callable[[], Awaitable[T]],
    longest_seconds: float,
    tell: Callable[[str], None] = lambda message: None,
) -> T:
    """Return what `act` returns in the end; `tell` hears each new reason for which it does not, "" when it did.

    Raises what another attempt cannot mend.
    """
    said = ""
    seconds = FIRST_SECONDS
    while True:
        try:
            result = await act()
        except (ApiError, Unavailable) as error:
            if not may_pass(error):
                raise
            if str(error) != said:
                said = str(error)
                logger.warning("%s: trying again error=%s", what, error)
                tell(said)
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, longest_seconds)
        else:
            if said:
                tell("")
            return result
