"""The data: scikit-learn's 1,797 real handwritten digits, and which of them no model ever trains on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 360
SEED = 20


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return pixels float32[1797, 64] in 0..1 and labels int64[1797], in one fixed random order.

    Reads the file that the scikit-learn package ships, without the second that importing it takes.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("scikit-learn is not installed: pip install 'proa[demo]'")
    file = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    rows = rows[np.random.default_rng(SEED).permutation(len(rows))]
    return rows[:, :64] / 16, rows[:, 64].astype(np.int64)


def held_out() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the digits to judge a model by: float32[360, 64], int64[360]."""
    pixels, labels = load_digits()
    return pixels[:HELD_OUT], labels[:HELD_OUT]


def training() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the digits to train on: float32[1437, 64], int64[1437]."""
    pixels, labels = load_digits()
    return pixels[HELD_OUT:], labels[HELD_OUT:]
