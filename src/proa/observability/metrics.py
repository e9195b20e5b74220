"""Count things, and print the counts in the text format of Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Metric(Protocol):
    """What can be printed."""

    def lines(self) -> list[str]:
        """Return the lines of the text format."""


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
    """A number that is asked for when it is printed; with `label`, one for each value that `read_all` returns."""

    def __init__(
        self,
        name: str,
        help: str,
        read: Callable[[], float] | None = None,
        *,
        label: str = "",
        read_all: Callable[[], Mapping[str, float]] | None = None,
        kind: str = "gauge",
    ) -> None:
        self.name = name
        self.help = help
        self._read = read
        self._label = label
        self._read_all = read_all
        self._kind = kind

    def lines(self) -> list[str]:
        """Return the lines of the text format."""
        head = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self._kind}"]
        if self._read is not None:
            return [*head, f"{self.name} {_number(self._read())}"]
        values = self._read_all() if self._read_all is not None else {}
        pairs = sorted(values.items())
        return head + [f'{self.name}{{{self._label}="{_escaped(k)}"}} {_number(v)}' for k, v in pairs]


class Histogram:
    """How often a number fell below each bound, for each combination of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.bounds = tuple(bounds)
        self.values: dict[tuple[object, ...], list[float]] = {}
        """How many fell between each two bounds, and their sum."""

    def observe(self, values: tuple[object, ...], number: float) -> None:
        """Take in a number under these label values, in the order of `labels`."""
        found = self.values.get(values)
        if found is None:
            found = self.values[values] = [0.0] * (len(self.bounds) + 2)
        found[bisect_left(self.bounds, number)] += 1
        found[-1] += number

    def lines(self) -> list[str]:
        """Return the lines of the text format."""
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} histogram"]
        for values, found in sorted(self.values.items(), key=str):
            pairs = [f'{k}="{_escaped(str(v))}"' for k, v in zip(self.labels, values, strict=True)]
            total = 0.0
            for bound, count in zip((*map(_number, self.bounds), "+Inf"), found, strict=False):
                total += count
                shown = ",".join([*pairs, f'le="{bound}"'])
                lines.append(f"{self.name}_bucket{{{shown}}} {total:g}")
            shown = "{" + ",".join(pairs) + "}" if pairs else ""
            lines += [f"{self.name}_sum{shown} {found[-1]:g}", f"{self.name}_count{shown} {total:g}"]
        return lines


def exposition(metrics: Sequence[Metric]) -> str:
    """Return the whole document."""
    return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
