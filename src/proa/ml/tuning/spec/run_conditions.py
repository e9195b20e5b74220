"""Tell from a run's object whether it has succeeded or failed, by the conditions that its template states.

A condition is a GJSON path. It holds where it finds an object, or a list that is not empty; anything else, a text or a
number too, does not. Source: pkg/controller.v1beta1/trial/util/job_util.go (GetDeployedJobStatus) of kubeflow/katib.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from proa.client.protocol import Object
from proa.ml.tuning.records import Problem
from proa.objects.gjson import Path, find
from proa.objects.gjson_parser import BadPath, parse


def check_condition(condition: str, field: str) -> list[Problem]:
    """Return what is wrong with a condition."""
    try:
        _parse(condition)
    except BadPath as error:
        return [Problem(field, f"is no GJSON path that can be followed: {error}")]
    return []


def evaluate(condition: str, run: Object) -> bool:
    """Tell whether a condition holds; raise BadPath, which `check_condition` tells of before."""
    return find_reason(condition, run) is not None


def find_reason(condition: str, run: Object) -> Object | None:
    """Return the first that a condition finds, with its `reason` and `message` if it has them; None: it does not hold.

    Raises BadPath.
    """
    found: Any = find(_parse(condition), run)
    if isinstance(found, list) and found:
        return found[0] if isinstance(found[0], dict) else {}
    return found if isinstance(found, dict) else None


@lru_cache(maxsize=256)
def _parse(condition: str) -> Path:
    return parse(condition)
