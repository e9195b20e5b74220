"""Rows on which a model and its copy must agree: ordinary ones, the model's own data, its thresholds, extremes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SEED = 20240229
_ROWS = 128
_THRESHOLDS = 1500
_MAGNITUDES = (1e-300, 1e-30, 1e-6, 1e6, 1e15, 1e30, 1e100)


def make_samples(estimator: Any, width: int, largest: float, has_gaps: bool) -> Iterator[tuple[str, Any]]:
    """Yield blocks of float64 rows with a name each; no number is larger than `largest`, some are NaN with gaps."""
    import numpy

    random = numpy.random.default_rng(SEED)
    yield "zeros and ones", numpy.vstack([numpy.zeros(width), numpy.ones(width), -numpy.ones(width)])
    yield "one feature", numpy.eye(width)[:_ROWS]
    yield "normal", random.normal(size=(_ROWS, width))
    yield "between 0 and 1", random.random((_ROWS, width))
    yield "whole numbers", random.integers(0, 17, (_ROWS, width)).astype(float)
    yield "bytes", random.integers(0, 256, (_ROWS, width)).astype(float)
    yield "mostly zeros", random.normal(size=(_ROWS, width)) * (random.random((_ROWS, width)) < 0.1)
    for number, (centre, spread) in enumerate(_find_data(estimator, width)):
        yield f"about its data {number}", centre + spread * random.normal(size=(_ROWS, width))
        yield f"beyond its data {number}", centre + 5 * spread * random.normal(size=(_ROWS, width))
    thresholds = _find_thresholds(estimator, width, random)
    if thresholds is not None:
        yield from _make_threshold_rows(thresholds, width, random)
    if has_gaps:
        yield (
            "gaps",
            numpy.where(random.random((_ROWS, width)) < 0.3, numpy.nan, random.normal(size=(_ROWS, width))),
        )
        yield "nothing", numpy.full((1, width), numpy.nan)
    for magnitude in _MAGNITUDES:
        if magnitude <= largest:
            yield f"of {magnitude:g}", magnitude * random.uniform(-1, 1, (16, width))


def _list_parts(estimator: Any) -> list[Any]:
    """Return an estimator and all that it is made of, each once."""
    parts: list[Any] = []
    waiting = [estimator]
    while waiting and len(parts) < 10_000:
        part = waiting.pop()
        if any(part is known for known in parts[:100]):
            continue
        parts.append(part)
        if hasattr(part, "steps"):
            waiting.extend(step for _, step in part.steps if hasattr(step, "fit"))
        inner = getattr(part, "estimators_", None)
        if inner is not None:
            waiting.extend(
                found
                for found in (inner.ravel() if hasattr(inner, "ravel") else inner)
                if hasattr(found, "fit")
            )
    return parts


def _find_data(estimator: Any, width: int) -> Iterator[tuple[Any, Any]]:
    """Yield centre and spread of each feature, as parts of the model know them."""
    import numpy

    for part in _list_parts(estimator)[:50]:
        for centre, spread in (
            ("mean_", "scale_"),
            ("data_min_", "data_range_"),
            ("center_", "scale_"),
            ("theta_", "var_"),
            ("xbar_", "xbar_"),
            ("cluster_centers_", "cluster_centers_"),
        ):
            found, about = getattr(part, centre, None), getattr(part, spread, None)
            if found is None or about is None:
                continue
            found, about = numpy.atleast_2d(found), numpy.atleast_2d(about)
            if found.shape[1] == width == about.shape[1]:
                yield found.mean(axis=0), numpy.abs(about).mean(axis=0)


def _find_thresholds(estimator: Any, width: int, random: Any) -> Any:
    """Return features and thresholds of the model's trees, None where it has none of the input's own features."""
    import numpy

    trees = [part.tree_ for part in _list_parts(estimator) if hasattr(part, "tree_")]
    pairs = [
        numpy.column_stack([tree.feature[inner], tree.threshold[inner]])
        for tree in trees
        if hasattr(tree, "threshold")
        and (inner := tree.children_left != -1).any()
        and tree.n_features == width
    ]
    if not pairs:
        return None
    found = numpy.vstack(pairs)
    found = found[numpy.isfinite(found[:, 1])]  # infinity tells what is missing from what is not
    return found[random.permutation(len(found))[:_THRESHOLDS]]


def _make_threshold_rows(thresholds: Any, width: int, random: Any) -> Iterator[tuple[str, Any]]:
    """Yield rows among thresholds, of which one feature is on one: exactly, and the next numbers of both widths."""
    import numpy

    features = thresholds[:, 0].astype(int)
    values = thresholds[:, 1]
    base = numpy.zeros((len(values), width))
    for feature in numpy.unique(features):
        known = values[features == feature]
        base[:, feature] = random.choice(known, len(values))
    narrow = values.astype(numpy.float32)
    rows = numpy.arange(len(values))
    for name, placed in (
        ("on thresholds", values),
        ("above thresholds", numpy.nextafter(values, numpy.inf)),
        ("below thresholds", numpy.nextafter(values, -numpy.inf)),
        ("above rounded thresholds", numpy.nextafter(narrow, numpy.float32(numpy.inf)).astype(float)),
        ("below rounded thresholds", numpy.nextafter(narrow, numpy.float32(-numpy.inf)).astype(float)),
    ):
        block = base.copy()
        block[rows, features] = placed
        yield name, block
