"""Read a run's JSON (v2beta1) as steps for people: what each is, how far, how long, and why it failed.

Answers have the nodes of upstream's workflow engine: beside each task what prepared it ("train-driver") and, below it,
the container ("executor"). Proa's have more of a task, under `proa`: path, kind, attempt, cache, parameters, artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from proa.objects.quick_dataclass import dataclass

Json = dict[str, Any]
FINAL = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})
GOOD = frozenset({"SUCCEEDED", "SKIPPED", "CACHED"})
OVER = FINAL | {"CACHED", "NOT_TRIGGERED"}


@dataclass(frozen=True, slots=True)
class Step:
    """One task of a run. Times are epoch seconds, 0 for not yet. `ours` is what only Proa's answers have."""

    id: str
    parent: str
    name: str
    path: str
    """Its name after those of what it is in: "exit-handler-1/train"."""
    state: str
    started_at: float
    finished_at: float
    error: str
    pod_name: str
    ours: Json

    @property
    def is_failed(self) -> bool:
        """Tell whether it has failed."""
        return self.state == "FAILED"

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended, or will never begin."""
        return self.state in OVER

    def seconds(self, now: float) -> float | None:
        """Return how long it took, or has taken so far; None before it has begun."""
        if not self.started_at or self.state in ("SKIPPED", "NOT_TRIGGERED"):
            return None
        return max(0.0, (self.finished_at or now) - self.started_at)


def steps_of(run: Mapping[str, Any]) -> list[Step]:
    """Return a run's steps, each before those that it holds, the root left out."""
    details: list[Json] = (run.get("run_details") or {}).get("task_details") or []
    if any("proa" in detail for detail in details):
        return [_make_step(detail, {}) for detail in details if (detail.get("proa") or {}).get("path")]
    executors = {
        detail.get("parent_task_id"): detail for detail in details if detail.get("display_name") == "executor"
    }
    by_id = {detail.get("task_id"): detail for detail in details}
    tasks = [detail for detail in details if not _is_engines_own(detail)]
    return [
        _make_step(detail, executors.get(detail.get("task_id")) or {}, _path(detail, by_id))
        for detail in tasks
        if detail.get("parent_task_id") in by_id or detail.get("display_name") != "root"
    ]


def _is_engines_own(detail: Json) -> bool:
    name = str(detail.get("display_name") or "")
    return name == "executor" or name.endswith("-driver")


def _path(detail: Json, by_id: Mapping[Any, Json]) -> str:
    names: list[str] = []
    at: Json | None = detail
    while at is not None and len(names) < 64 and at.get("display_name") != "root":
        names.append(str(at.get("display_name") or ""))
        at = by_id.get(at.get("parent_task_id"))
    return "/".join(reversed(names))


def _make_step(detail: Json, executor: Json, path: str = "") -> Step:
    ours = detail.get("proa") or {}
    path = ours.get("path") or path
    name = path.rpartition("/")[2] if ours.get("kind") == "iteration" else detail.get("display_name")
    state = ours.get("state") or detail.get("state") or "PENDING"
    return Step(
        id=detail.get("task_id") or "",
        parent=detail.get("parent_task_id") or "",
        name=name or path or "?",
        path=path,
        state=state,
        started_at=0.0 if state == "PENDING" else parse_time(detail.get("start_time")),
        finished_at=parse_time(detail.get("end_time")),
        error=error_text(detail.get("error")) or error_text(executor.get("error")),
        pod_name=detail.get("pod_name") or executor.get("pod_name") or "",
        ours=ours,
    )


def error_text(error: object) -> str:
    """Return the message of a google.rpc.Status, "" for none."""
    return str(error.get("message") or "") if isinstance(error, dict) else ""


def parse_time(text: object) -> float:
    """Return an API's time in epoch seconds, 0 for none (and for the epoch, which says the same)."""
    if not isinstance(text, str) or not text:
        return 0.0
    return max(0.0, datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def children_of(steps: Sequence[Step]) -> dict[str, list[Step]]:
    """Return steps by parent; those whose parent is not among them are under ""."""
    ids = {step.id for step in steps}
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.parent if step.parent in ids else "", []).append(step)
    return found


def failed_leaves(steps: Sequence[Step]) -> list[Step]:
    """Return the failed steps that did not fail for one below them."""
    failed = [step for step in steps if step.is_failed]
    parents = {step.parent for step in failed}
    return [step for step in failed if step.id not in parents]


def run_seconds(run: Mapping[str, Any], now: float) -> float:
    """Return how long a run took, or has taken so far."""
    end = parse_time(run.get("finished_at")) or now
    return max(0.0, end - parse_time(run.get("created_at")))


def headline(error: str) -> str:
    """Return an error on one line: what happened, and the last that the program said."""
    lines = [" ".join(line.split()) for line in error.splitlines() if line.strip()]
    if len(lines) < 2:
        return "".join(lines)
    return f"{lines[0].removesuffix(' Its log ends:')} {lines[-1]}"


def format_seconds(seconds: float | None) -> str:
    """Return a time span for people: 0.3s, 12s, 4m 05s, 2h 10m."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"
