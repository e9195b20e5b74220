"""Read tasks of a DAG: what they wait for, when they run, how often, and how often again.

All take proto-JSON as document.py returns it. Source: api/v2alpha1/pipeline_spec.proto (PipelineTaskSpec).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proa.objects.quick_dataclass import dataclass

Json = Mapping[str, Any]

ALL_SUCCEEDED = "ALL_UPSTREAM_TASKS_SUCCEEDED"
ALL_COMPLETED = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task is tried again, and after how many seconds: `backoff * factor**n`, at most `max_backoff`."""

    max_retries: int = 0
    backoff_seconds: float = 0.0
    factor: float = 2.0
    max_backoff_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Loop:
    """What a task loops over: the input that has the items (or `raw`, their JSON), and the input that has one."""

    item_input: str
    items_input: str = ""
    raw: str = ""
    is_artifact: bool = False

    def raw_items(self) -> list[Any]:
        """Return the items that stand in the document."""
        items: list[Any] = json.loads(self.raw)
        return items


def task_title(task: Json, key: str) -> str:
    """Return the name that people gave a task; its key where there is none."""
    title: str = task.get("taskInfo", {}).get("name", "")
    return title or key


def parameter_inputs(task: Json) -> dict[str, dict[str, Any]]:
    """Return the InputParameterSpecs by the component's input."""
    found: dict[str, dict[str, Any]] = task.get("inputs", {}).get("parameters", {})
    return found


def artifact_inputs(task: Json) -> dict[str, dict[str, Any]]:
    """Return the InputArtifactSpecs by the component's input."""
    found: dict[str, dict[str, Any]] = task.get("inputs", {}).get("artifacts", {})
    return found


def dependencies(task: Json) -> frozenset[str]:
    """Return the keys of the tasks that a task waits for: those it names, and those whose outputs it takes."""
    return frozenset(task.get("dependentTasks", ())) | frozenset(producers(task))


def producers(task: Json) -> Iterator[str]:
    """Yield the keys of the tasks that inputs come from."""
    for source in parameter_inputs(task).values():
        for kind in ("taskOutputParameter", "taskFinalStatus"):
            if kind in source:
                yield source[kind].get("producerTask", "")
    for source in artifact_inputs(task).values():
        if "taskOutputArtifact" in source:
            yield source["taskOutputArtifact"].get("producerTask", "")


def condition_of(task: Json) -> str:
    """Return the condition in CEL that a task runs under; "" for none."""
    condition: str = task.get("triggerPolicy", {}).get("condition", "")
    return condition


def is_exit_task(task: Json) -> bool:
    """Say whether a task runs however those before it ended."""
    return bool(task.get("triggerPolicy", {}).get("strategy") == ALL_COMPLETED)


def is_cache_enabled(task: Json) -> bool:
    """Say whether a task may be answered from the cache."""
    return task.get("cachingOptions", {}).get("enableCache", False) is True


def is_cache_refused(spec: Json) -> bool:
    """Say whether whoever asked for the run wants no step from the cache.

    The SDK's `enable_caching=False` says so at the root's tasks only, and so of a group (a loop, a condition, an exit
    handler) too, which its compiler never does: what is in the group is meant.
    """
    tasks = spec.get("root", {}).get("dag", {}).get("tasks", {}).values()
    return bool(tasks) and all("cachingOptions" in task and not is_cache_enabled(task) for task in tasks)


def cache_key(task: Json) -> str:
    """Return the key that stands for the task in the cache instead of its content; "" for none."""
    key: str = task.get("cachingOptions", {}).get("cacheKey", "")
    return key


def find_loop(task: Json) -> Loop | None:
    """Return what a task loops over; None where it runs once."""
    for kind, is_artifact in (("parameterIterator", False), ("artifactIterator", True)):
        if kind in task:
            items = task[kind].get("items", {})
            source = items.get("inputArtifact" if is_artifact else "inputParameter", "")
            return Loop(task[kind].get("itemInput", ""), source, items.get("raw", ""), is_artifact)
    return None


def parallelism_limit(task: Json) -> int:
    """Return how many iterations may run at once; 0 for all."""
    limit: int = task.get("iteratorPolicy", {}).get("parallelismLimit", 0)
    return limit


def retry_policy(task: Json) -> RetryPolicy | None:
    """Return how a task is tried again; None where it says nothing, and the task around it decides.

    The SDK always writes all fields; where they are absent, its defaults are taken (factor 2, at most an hour).
    """
    policy = task.get("retryPolicy")
    if policy is None:
        return None
    return RetryPolicy(
        max_retries=policy.get("maxRetryCount", 0),
        backoff_seconds=parse_duration(policy.get("backoffDuration", "0s")),
        factor=policy.get("backoffFactor", 0.0) or 2.0,
        max_backoff_seconds=parse_duration(policy.get("backoffMaxDuration", "0s")) or 3600.0,
    )


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as "1.5s"."""
    return float(text.removesuffix("s"))
