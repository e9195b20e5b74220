"""The search space as a cube: each parameter is a coordinate in [0, 1], and each point of the cube is feasible.

A double or int is laid on the coordinate by its distribution: linear (uniform), logarithmic (logUniform), by the
probability of a normal distribution whose middle is the middle of [min, max] and whose sigma is a sixth of it, cut off
at both ends (normal), the same of the logarithm (logNormal). So a coordinate drawn uniformly is a value drawn from the
distribution. Ints, and doubles with a step, have levels: min, min + step, ... up to max; a discrete's levels are its
values in their order by size, a categorical's as listed, each with an equal part of the coordinate.

Values are written as Katib's services write them: "3", "0.001", "1e-05", those of lists as their author did.
Source: pkg/suggestion/v1beta1/hyperopt/base_service.py (distributions), internal/search_space.py (steps).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from random import Random
from statistics import NormalDist

from proa.ml.tuning.records import Parameter

MAX_LEVELS = 1000
"""A parameter with more levels is taken for continuous, and rounded."""
_SIGMAS = 3.0
_NORMAL = NormalDist()
_TAIL = _NORMAL.cdf(-_SIGMAS)
_LOGARITHMIC = ("logUniform", "logNormal")
_NORMAL_KINDS = ("normal", "logNormal")


class Dimension:
    """One parameter. `levels` are the texts of its values, None where it is continuous or has too many."""

    def __init__(self, parameter: Parameter) -> None:
        self.name = parameter.name
        self.parameter = parameter
        self.is_categorical = parameter.type == "categorical"
        self.step = parameter.step or (1.0 if parameter.type == "int" else 0.0)
        self.levels: Sequence[str] | None = None
        if parameter.type in ("discrete", "categorical"):
            ordered = _sort_by_size(parameter.values) if parameter.type == "discrete" else None
            self.is_categorical = ordered is None
            self.levels = ordered or [*parameter.values]
        elif self.step and self.count <= MAX_LEVELS:
            self.levels = [self._write(self._level(index)) for index in range(self.count)]

    @cached_property
    def count(self) -> int:
        """The number of values, 0 for infinitely many."""
        if self.parameter.values:
            return len(self.parameter.values)
        if not self.step:
            return 0 if self.parameter.maximum > self.parameter.minimum else 1
        span = (self.parameter.maximum - self.parameter.minimum) / self.step
        return math.floor(span + 1e-9) + 1

    @cached_property
    def places(self) -> list[float]:
        """Where each level is on the coordinate: the middle of its part of it. Empty without levels."""
        return [(low + high) / 2 for low, high in zip([0.0, *self.ends], self.ends, strict=False)]

    @cached_property
    def ends(self) -> list[float]:
        """Where each level's part of the coordinate ends, in order; the last is 1."""
        if self.levels is None:
            return []
        if self.parameter.values:
            return [(index + 1) / len(self.levels) for index in range(len(self.levels))]
        between = [self._to_unit(self._level(index) + self.step / 2) for index in range(len(self.levels) - 1)]
        return [*between, 1.0]

    def value(self, coordinate: float) -> str:
        """Return the value at a coordinate, as it is written."""
        if self.levels is not None:
            return self.levels[min(bisect.bisect_right(self.ends, coordinate), len(self.levels) - 1)]
        number = self._from_unit(min(max(coordinate, 0.0), 1.0))
        if self.step:
            index = round((number - self.parameter.minimum) / self.step)
            number = self._level(min(max(index, 0), self.count - 1))
        return self._write(min(max(number, self.parameter.minimum), self.parameter.maximum))

    def value_at(self, index: int) -> str:
        """Return the value of a level by its number, of however many."""
        return self.levels[index] if self.levels is not None else self._write(self._level(index))

    def place(self, text: str) -> float:
        """Return the coordinate of a value; raise ValueError for one that the parameter cannot have."""
        if self.levels is not None and text in self._index:
            return self.places[self._index[text]]
        if self.parameter.values:
            raise ValueError(f"{self.name} has no value {text!r}")
        number = float(text)
        if self.levels is not None:
            index = round((number - self.parameter.minimum) / self.step)
            return self.places[min(max(index, 0), self.count - 1)]
        return self._to_unit(number)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {text: index for index, text in enumerate(self.levels or ())}

    @cached_property
    def _edges(self) -> tuple[float, float]:
        """The (logarithms of the) values at 0 and 1: half a step beyond min and max, a fair part for each level."""
        low, high = self.parameter.minimum, self.parameter.maximum
        if self.step:
            high = self._level(self.count - 1)
            low, high = low - self.step / 2, high + self.step / 2
        if self._is_logarithmic:
            low = max(low, self.parameter.minimum / 2)
            return math.log(low), math.log(high)
        return low, high

    @property
    def _is_logarithmic(self) -> bool:
        return self.parameter.distribution in _LOGARITHMIC and self.parameter.minimum > 0

    def _to_unit(self, number: float) -> float:
        low, high = self._edges
        if high <= low:
            return 0.5
        if self._is_logarithmic:
            number = math.log(number) if number > 0 else low
        unit = min(max((number - low) / (high - low), 0.0), 1.0)
        if self.parameter.distribution in _NORMAL_KINDS:
            return (_NORMAL.cdf((unit * 2 - 1) * _SIGMAS) - _TAIL) / (1 - 2 * _TAIL)
        return unit

    def _from_unit(self, unit: float) -> float:
        low, high = self._edges
        if self.parameter.distribution in _NORMAL_KINDS:
            unit = (_NORMAL.inv_cdf(_TAIL + unit * (1 - 2 * _TAIL)) / _SIGMAS + 1) / 2
        number = low + unit * (high - low)
        return math.exp(number) if self._is_logarithmic else number

    def _level(self, index: int) -> float:
        return self.parameter.minimum + index * self.step

    def _write(self, number: float) -> str:
        if self.parameter.type == "int":
            return str(round(number))
        return repr(round(number, self._decimals) if self.step else number)

    @cached_property
    def _decimals(self) -> int:
        """The decimals that min and step are written with: 0.1 + 2 * 0.1 is "0.3"."""
        exponents = [
            Decimal(repr(number)).normalize().as_tuple().exponent
            for number in (self.parameter.minimum, self.step)
        ]
        return max(0, *(-exponent for exponent in exponents if isinstance(exponent, int)))


class Space:
    """All parameters, in their order."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.dimensions = [Dimension(parameter) for parameter in parameters]

    @cached_property
    def size(self) -> int:
        """The number of points, 0 for infinitely many."""
        return math.prod([dimension.count for dimension in self.dimensions])

    def values(self, point: Iterable[float]) -> dict[str, str]:
        """Return the assignments at a point of the cube."""
        pairs = zip(self.dimensions, point, strict=True)
        return {dimension.name: dimension.value(float(coordinate)) for dimension, coordinate in pairs}

    def place(self, assignments: Mapping[str, str]) -> list[float]:
        """Return the point of assignments; raise ValueError where they are of another space."""
        try:
            return [dimension.place(assignments[dimension.name]) for dimension in self.dimensions]
        except KeyError as missing:
            raise ValueError(f"there is no value for {missing}") from None

    def draw(self, random: Random) -> dict[str, str]:
        """Return assignments drawn from the parameters' distributions."""
        return self.values([random.random() for _ in self.dimensions])


def _sort_by_size(values: Sequence[str]) -> Sequence[str] | None:
    """Return the values by size, None where not all are numbers."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return None
