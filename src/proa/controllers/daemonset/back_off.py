"""Make what fails again and again wait longer each time. Follows client-go's util/flowcontrol/backoff.go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

FIRST_SECONDS = 1.0
MOST_SECONDS = 900.0
REMEMBERED = 10_000


class BackOff:
    """The delays of many keys; what has not failed for twice the longest delay begins anew."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, key: Hashable, now: float) -> float:
        """Return for how long the key must wait still; 0: it need not."""
        delay, since = self._entries.get(key, (0.0, now))
        return max(0.0, since + delay - now)

    def failed(self, key: Hashable, now: float) -> None:
        """Count a failure: the next one comes no sooner than after the key's delay, which doubles."""
        delay, since = self._entries.pop(key, (0.0, now))
        if now - since > 2 * MOST_SECONDS:
            delay = 0.0
        self._entries[key] = (min(max(2 * delay, FIRST_SECONDS), MOST_SECONDS), now)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)
