"""Let namespaces share the bytes that are kept: each may keep as many as are left over. No I/O.

Of n that keep all they may each has 1/(n+1) of the whole, and as much is left for the next one: nobody keeps others
out, and one alone has half. What came at once may be more than that, so a 64th of the whole is everybody's in any case.
Requests that nobody knows the revision of have one share together.
Source: dynamic queue length thresholds (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
"""

from __future__ import annotations

UNKNOWN = ""
"""Of revisions that nobody has told of."""


class Shares:
    """Bytes that are kept, by namespace; beyond `most_bytes` there is only what came at once, and the least of all."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._least = most_bytes, most_bytes // 64
        self._kept: dict[str, int] = {}
        self.kept_bytes = 0

    def of(self, namespace: str) -> Share:
        """Return a namespace's share."""
        return Share(self, namespace)

    def is_full(self, namespace: str) -> bool:
        """Tell whether a namespace may keep no more for now."""
        return self._kept.get(namespace, 0) >= max(self._most - self.kept_bytes, self._least)

    def keep(self, namespace: str, size: int) -> None:
        """Count bytes that are kept, or, negative, that are not any more."""
        self.kept_bytes += size
        kept = self._kept.get(namespace, 0) + size
        if kept:
            self._kept[namespace] = kept
        else:
            self._kept.pop(namespace, None)


class Share:
    """One request's way to its namespace's share."""

    __slots__ = ("_namespace", "_shares")

    def __init__(self, shares: Shares, namespace: str) -> None:
        self._shares = shares
        self._namespace = namespace

    @property
    def is_full(self) -> bool:
        """Tell whether no more may be kept for now."""
        return self._shares.is_full(self._namespace)

    def keep(self, size: int) -> None:
        """Count bytes that are kept, or, negative, that are not any more."""
        self._shares.keep(self._namespace, size)
