"""Search and early-stopping algorithms, one file each: by the name in `spec.algorithm.algorithmName`, the module."""

from __future__ import annotations

ALGORITHMS = {
    "random": "random_search",
    "grid": "grid",
    "sobol": "sobol",
    "tpe": "tpe",
    "multivariate-tpe": "multivariate_tpe",
    "bayesianoptimization": "bayesianoptimization",
    "cmaes": "cmaes",
    "hyperband": "hyperband",
    "pbt": "pbt",
}
EARLY_STOPPING = {
    "medianstop": "medianstop",
}
