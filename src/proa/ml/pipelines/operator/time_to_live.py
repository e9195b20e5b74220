"""How long the object of a finished run stays, and its pods with it: the pipeline's own wish, else the operator's.

Source: buildTTLStrategy of backend/src/v2/compiler/argocompiler/argo.go: what is said of success or failure wins over
what is said of completion. A negative setting keeps objects for good.
"""

from __future__ import annotations

from proa.ml.pipelines.ir.platform import pipeline_config
from proa.ml.pipelines.records import Run, RunState


def seconds_left(run: Run, default_seconds: int, now: float) -> float | None:
    """Return in how many seconds a run's object is to go, None for never."""
    seconds = ttl_seconds(run, default_seconds)
    return None if seconds < 0 else max(0.0, run.finished_at + seconds - now)


def ttl_seconds(run: Run, default_seconds: int) -> int:
    """Return how long it stays after the end."""
    config = pipeline_config(run.platform_spec)
    is_good = run.state in (RunState.SUCCEEDED, RunState.SKIPPED)
    own = config.ttl_on_success if is_good else config.ttl_on_failure
    return own or config.ttl_on_completion or default_seconds
