"""Make a container that keeps failing wait: 10 s, doubling to 5 min, forgotten after twice that without a failure.

Follows client-go/util/flowcontrol/backoff.go as the kubelet uses it: the first restart is immediate.
"""

from __future__ import annotations

from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """The wait now in force, when it was last raised (epoch seconds), and how long it can become."""

    delay_seconds: float
    raised_at: float
    max_seconds: float = 300.0

    def wait_until(self, failed_at: float) -> float:
        """Return when a retry may happen after a failure at `failed_at`: at once where it went well for long."""
        return failed_at if self.is_over(failed_at) else failed_at + self.delay_seconds

    def is_over(self, now: float) -> bool:
        """Tell whether there has been no failure for so long that the next one starts anew."""
        return now - self.raised_at > 2 * self.max_seconds


def next_backoff(current: BackOff | None, now: float, initial_seconds: float, max_seconds: float) -> BackOff:
    """Return the wait after one more retry at `now`."""
    if current is None or current.is_over(now):
        return BackOff(initial_seconds, now, max_seconds)
    return BackOff(min(current.delay_seconds * 2, max_seconds), now, max_seconds)
