"""Search and early-stopping algorithms, one file each: by the name in `spec.algorithm.algorithmName`, the module."""

from __future__ import annotations

ALGORITHMS = {
    "random": "random_search",
    "grid": "grid",
}
EARLY_STOPPING: dict[str, str] = {}
