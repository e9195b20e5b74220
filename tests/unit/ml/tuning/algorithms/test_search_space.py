from __future__ import annotations

import statistics
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.ml.tuning.algorithms.space import Dimension, Space
from proa.ml.tuning.records import Parameter


@pytest.mark.parametrize(
    ("parameter", "texts"),
    [
        pytest.param(Parameter("x", "int", 1, 3), ["1", "2", "3"], id="int"),
        pytest.param(Parameter("x", "int", 0, 10, step=4), ["0", "4", "8"], id="int with a step"),
        pytest.param(
            Parameter("x", "double", 0.1, 0.3, step=0.1), ["0.1", "0.2", "0.3"], id="no 0.30000000000000004"
        ),
        pytest.param(
            Parameter("x", "double", 1e-5, 3e-5, step=1e-5), ["1e-05", "2e-05", "3e-05"], id="small steps"
        ),
        pytest.param(
            Parameter("x", "discrete", values=("128", "16", "3.50")), ["3.50", "16", "128"], id="discrete"
        ),
        pytest.param(Parameter("x", "categorical", values=("b", "a")), ["b", "a"], id="categorical"),
        pytest.param(
            Parameter("x", "int", 1, 3, distribution="logUniform"), ["1", "2", "3"], id="logarithmic int"
        ),
    ],
)
def test_levels_are_written_as_their_author_would(parameter: Parameter, texts: list[str]) -> None:
    dimension = Dimension(parameter)
    assert dimension.levels == texts
    assert [dimension.value(place) for place in dimension.places] == texts


def test_each_level_of_a_uniform_int_is_as_likely_as_the_others() -> None:
    dimension = Dimension(Parameter("x", "int", 1, 4))
    assert dimension.ends == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("distribution", "quartiles"),
    [
        ("uniform", [25.75, 50.5, 75.25]),
        ("logUniform", [3.16, 10, 31.6]),
        ("normal", [39.4, 50.5, 61.6]),
        ("logNormal", [5.96, 10, 16.8]),
    ],
)
def test_draws_have_the_distribution_that_upstreams_converters_give(
    distribution: str, quartiles: list[float]
) -> None:
    space = Space([Parameter("x", "double", 1, 100, distribution=distribution)])  # type: ignore[arg-type]
    random = Random(1)
    drawn = [float(space.draw(random)["x"]) for _ in range(4000)]
    assert statistics.quantiles(drawn, n=4) == pytest.approx(quartiles, rel=0.08)
    assert 1 <= min(drawn) <= max(drawn) <= 100


@st.composite
def parameters(draw: st.DrawFn) -> Parameter:
    kind = draw(st.sampled_from(["double", "int", "discrete", "categorical"]))
    if kind in ("discrete", "categorical"):
        numbers = draw(st.lists(st.integers(-50, 50), min_size=1, max_size=6, unique=True))
        return Parameter("x", kind, values=tuple(map(str, numbers)))
    low = draw(st.integers(-1000, 1000)) if kind == "int" else draw(st.floats(-1e6, 1e6))
    span = draw(st.integers(0, 5000)) if kind == "int" else draw(st.floats(0, 1e6))
    step = (
        draw(st.sampled_from([0, 1, 7]))
        if kind == "int"
        else draw(st.sampled_from([0, span / 3, span / 2000]))
    )
    distribution = draw(st.sampled_from(["uniform", "logUniform", "normal", "logNormal"]))
    return Parameter("x", kind, low, low + span, step, distribution=distribution)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(parameters(), st.floats(0, 1))
def test_every_point_of_the_cube_is_a_feasible_value_and_keeps_its_place(
    parameter: Parameter, point: float
) -> None:
    dimension = Dimension(parameter)
    text = dimension.value(point)
    if parameter.values:
        assert text in parameter.values
    else:
        assert (
            parameter.minimum - 1e-9
            <= float(text)
            <= parameter.maximum + 1e-9 * max(1, abs(parameter.maximum))
        )
        assert parameter.type != "int" or text == str(int(text))
    place = dimension.place(text)
    assert 0 <= place <= 1
    if dimension.count != 0:
        assert dimension.value(place) == text
