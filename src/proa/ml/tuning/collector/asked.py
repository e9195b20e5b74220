"""What a collector is asked to do: its arguments, one `key=value` each, so that a pod's reader sees them.

`metric`, `filter`, `rule`, `primary` and `header` may come several times. A rule is
`comparison;start step;value;metric`; a primary is `VARIABLE=value`: the pod counts if the environment has it so.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Asked:
    """One collector's settings; "" and () for what is not said."""

    def __init__(self, words: Iterable[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for word in words:
            key, _, value = word.partition("=")
            self._values.setdefault(key, []).append(value)

    def get(self, key: str, default: str = "") -> str:
        """Return the value of a key that comes once."""
        return self._values.get(key, [default])[0]

    def all(self, key: str) -> list[str]:
        """Return the values of a key that may come several times."""
        return self._values.get(key, [])

    @property
    def metrics(self) -> list[str]:
        """Return the names of the metrics, the objective's first."""
        return self.all("metric")

    @property
    def rules(self) -> list[tuple[str, float, str, int]]:
        """Return the stopping rules: metric, value, comparison, start step."""
        split = [rule.split(";", 3) for rule in self.all("rule")]
        return [(metric, float(value), how, int(step)) for how, step, value, metric in split]

    @property
    def primary(self) -> list[tuple[str, str]]:
        """Return the variables that the primary pod has, with their values."""
        return [(name, value) for name, _, value in (p.partition("=") for p in self.all("primary"))]
