"""Count things, and print the counts in the text format of Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Counter:
    """A number for each combination of label values; it only grows."""

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.values: dict[tuple[object, ...], float] = {}

    def add(self, values: tuple[object, ...], amount: float = 1) -> None:
        """Add to the count of these label values, in the order of `labels`."""
        self.values[values] = self.values.get(values, 0) + amount

    def lines(self) -> list[str]:
        """Return the lines of the text format."""
        head = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} counter"]
        return head + [f"{self.name}{self._labels(v)} {n:g}" for v, n in sorted(self.values.items(), key=str)]

    def _labels(self, values: tuple[object, ...]) -> str:
        pairs = [f'{key}="{_escaped(str(value))}"' for key, value in zip(self.labels, values, strict=True)]
        return "{" + ",".join(pairs) + "}" if pairs else ""


class Gauge:
    """A number that is asked for when it is printed."""

    def __init__(self, name: str, help: str, read: Callable[[], float]) -> None:
        self.name = name
        self.help = help
        self._read = read

    def lines(self) -> list[str]:
        """Return the lines of the text format."""
        return [
            f"# HELP {self.name} {self.help}",
            f"# TYPE {self.name} gauge",
            f"{self.name} {self._read():g}",
        ]


def exposition(metrics: Sequence[Counter | Gauge]) -> str:
    """Return the whole document."""
    return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
