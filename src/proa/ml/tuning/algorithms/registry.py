"""Find an algorithm by its name; its module is imported then, and no other."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from proa.ml.tuning.algorithms import ALGORITHMS, EARLY_STOPPING
from proa.ml.tuning.algorithms.errors import PackageMissing, UnknownAlgorithm
from proa.ml.tuning.algorithms.protocol import Algorithm, EarlyStopping


def find_algorithm(name: str) -> Algorithm:
    """Return the search algorithm; raise UnknownAlgorithm, PackageMissing."""
    return cast(Algorithm, _find(ALGORITHMS, name, "algorithm"))


def find_early_stopping(name: str) -> EarlyStopping:
    """Return the early-stopping algorithm; raise UnknownAlgorithm, PackageMissing."""
    return cast(EarlyStopping, _find(EARLY_STOPPING, name, "early stopping algorithm"))


def package_missing(name: str, error: ImportError) -> PackageMissing:
    """Return the words for an algorithm whose package cannot be imported."""
    return PackageMissing(
        f"algorithm {name!r} needs a package: {error}; pip install 'proa[tune]' has all of them"
    )


def _find(known: Mapping[str, str], name: str, noun: str) -> Any:
    module = known.get(name)
    if module is None:
        raise UnknownAlgorithm(f"there is no {noun} {name!r}; there is {', '.join(known)}")
    try:
        return importlib.import_module(f"{__package__}.{module}")
    except ModuleNotFoundError as error:
        raise package_missing(name, error) from error
