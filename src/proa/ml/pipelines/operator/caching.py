"""Answer a task from an earlier run: only where what that one made is still there, and still what it was.

Off, hit or miss, the reason is a sentence for people. What takes part in a fingerprint: executor/fingerprint.py.
"""

from __future__ import annotations

import asyncio

from proa.ml.pipelines.artifacts.protocol import ArtifactError, ArtifactStore
from proa.ml.pipelines.executor.fingerprint import make_fingerprint
from proa.ml.pipelines.executor.step import Step
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Artifact, Caching, Run, Task, Values


async def find_outputs(
    around: Surroundings, run: Run, launch: Launch, step: Step, store: ArtifactStore
) -> tuple[Caching, Values | None]:
    """Return what the cache says of a task, and the outputs that it has for it."""
    if reason := why_off(run, launch):
        return Caching("off", f"off: {reason}"), None
    tags = {name: [item.tag for item in items] for name, items in launch.inputs.artifacts.items()}
    fingerprint = make_fingerprint(launch, step, tags)
    ttl = around.settings.cache_ttl_seconds
    not_before = around.now() - ttl if ttl else 0.0
    task = await around.database.cache.find(run.namespace, fingerprint, not_before)
    if task is None:
        reason = f" in the last {ttl} seconds" if ttl else ""
        return Caching("miss", f"miss: no earlier run with these inputs{reason}", fingerprint), None
    if reason := await find_problem(task, store):
        return Caching("miss", f"miss: {reason}", fingerprint), None
    return Caching("hit", f"hit: from run {task.run_id}", fingerprint, task.id), task.outputs


def why_off(run: Run, launch: Launch) -> str:
    """Return why the cache is not asked, "" where it is."""
    if run.cache_enabled is False:
        return "the run was started without caching"
    if run.cache_enabled:
        return ""
    if not launch.task_spec.get("cachingOptions", {}).get("enableCache"):
        return "the task's cachingOptions say so"
    return ""


async def find_problem(task: Task, store: ArtifactStore) -> str:
    """Return why an earlier result cannot be used, "" where it can."""
    artifacts = [artifact for items in task.outputs.artifacts.values() for artifact in items]
    problems = await asyncio.gather(*(_find_change(task, artifact, store) for artifact in artifacts))
    return next(filter(None, problems), "")


async def _find_change(task: Task, artifact: Artifact, store: ArtifactStore) -> str:
    what = f"artifact '{artifact.name}' of run {task.run_id}"
    try:
        found = await store.stat(artifact.uri)
    except ArtifactError as error:
        return f"{what} cannot be looked at: {error}"
    if found is None:
        return f"{what} is gone" if artifact.tag else ""
    return "" if found.tag == artifact.tag else f"{what} is not what it was"
