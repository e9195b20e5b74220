"""Find a run's step, its log and its artifacts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from proa.cli import Failure
from proa.cli.pipelines.rest import NAMESPACE, PipelinesApi
from proa.cli.pipelines.steps import Step, steps_of
from proa.objects import meta
from proa.objects.errors import ApiError, BadRequest, NotFound

Json = dict[str, Any]
TAIL_LINES = 20
LOOK_SECONDS = 0.5
MOST_ASKED = 5
"""So many pods that wait are told of."""
TASK_PATH = "pipelines.proa.dev/task-path"
MAIN = "main"
"""The container of a step that is the user's."""


async def read_log(api: PipelinesApi, run: Json, step: Step) -> AsyncIterator[bytes]:
    """Yield a step's log so far: that which Proa keeps, elsewhere its pod's. Raises NotFound."""
    if step.ours:
        async for chunk in api.stream(f"/runs/{run['run_id']}/log", task=step.path):
            yield chunk
        return
    if not step.pod_name:
        raise NotFound(f"step {step.path} has no pod")
    async for chunk in api.stream(await _pod_log(api, run, step), root="", container=MAIN):
        yield chunk


async def follow_log(api: PipelinesApi, run: Json, name: str) -> AsyncIterator[bytes]:
    """Yield a step's log as it is written, until the step is over; before it has begun, wait for that."""
    step = find_step(run, name)
    while not step.is_over:
        if step.pod_name and step.state != "PENDING":
            try:
                path = await _pod_log(api, run, step)
                async for chunk in api.stream(path, root="", container=MAIN, follow="true"):
                    yield chunk
                return
            except (NotFound, BadRequest):  # its container has not begun, or is gone already
                pass
        await asyncio.sleep(LOOK_SECONDS)
        run = await api.get(f"/runs/{run['run_id']}")
        step = find_step(run, step.id)
    async for chunk in read_log(api, run, step):
        yield chunk


async def _pod_log(api: PipelinesApi, run: Json, step: Step) -> str:
    return f"/api/v1/namespaces/{await namespace_of(api, run)}/pods/{step.pod_name}/log"


async def namespace_of(api: PipelinesApi, run: Json) -> str:
    """Return the namespace of a run, which is its experiment's."""
    if namespace := (run.get("proa") or {}).get("namespace"):
        return str(namespace)
    experiment = await api.get(f"/experiments/{run['experiment_id']}")
    return str(experiment.get("namespace") or NAMESPACE)


async def what_holds_back(api: PipelinesApi, run: Json) -> list[str]:
    """Return a line about each of a run's pods that find no node, [] where pods may not be read."""
    import orjson

    if not any(step.state == "RUNNING" for step in steps_of(run)):
        return []
    path = f"/api/v1/namespaces/{await namespace_of(api, run)}/pods"
    query = {"labelSelector": f"pipeline/runid={run['run_id']}", "fieldSelector": "spec.nodeName="}
    try:
        listed = b"".join([chunk async for chunk in api.stream(path, root="", limit=MOST_ASKED, **query)])
    except ApiError:
        return []
    found = [(pod, why) for pod in orjson.loads(listed)["items"] if (why := why_unscheduled(pod))]
    return [
        f"{meta.annotations(pod).get(TASK_PATH) or meta.name(pod)} waits for a node: {clean(why)}"
        for pod, why in found
    ]


def why_unscheduled(pod: Json) -> str:
    """Return why the scheduler found no node for a pod, "" where it has one or was not tried yet."""
    condition = meta.find_condition(pod, "PodScheduled") or {}
    return str(condition.get("message") or "") if condition.get("status") == "False" else ""


async def last_lines(api: PipelinesApi, run: Json, step: Step) -> list[str]:
    """Return the last lines of a step's log, [] where it is gone."""
    kept = b""
    try:
        async for chunk in read_log(api, run, step):
            kept = (kept + chunk)[-64 * 1024 :]
    except ApiError:
        return []
    return clean(kept.decode(errors="replace")).splitlines()[-TAIL_LINES:]


def clean(text: str) -> str:
    """Return a program's output without what would change the terminal that it is shown on."""
    return re.sub(
        r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]",
        "",
        text,
    )


def artifacts_of(run: Json) -> list[tuple[Step, str, Json]]:
    """Return (step, output, artifact) of what the steps of a run have made, without those that only hand on."""
    found = []
    for step in steps_of(run):
        if step.ours.get("kind") in ("dag", "loop", "iteration"):
            continue
        outputs = (step.ours.get("outputs") or {}).get("artifacts") or {}
        found += [(step, name, one) for name, artifacts in outputs.items() for one in artifacts]
    return found


def find_step(run: Json, name: str) -> Step:
    """Return a run's step by its name, its path or its id; raise Failure, with the names that there are."""
    steps = steps_of(run)
    found = [step for step in steps if name in (step.id, step.path)]
    found = found or [step for step in steps if step.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise Failure(f"there are {len(found)} steps called {name}: {', '.join(step.path for step in found)}")
    names = ", ".join(step.path for step in steps[:50]) or "none yet"
    raise Failure(f"the run has no step {name!r}; there are: {names}")


def find_step_with_log(run: Json, name: str) -> Step:
    """Return a step by its name that is a container's; raise Failure for a loop, a branch or a nested pipeline."""
    step = find_step(run, name)
    if inner := [one.path for one in steps_of(run) if one.parent == step.id]:
        names = ", ".join(inner[:50])
        raise Failure(f"{step.path} has no log of its own, only the steps in it have: {names}")
    return step
