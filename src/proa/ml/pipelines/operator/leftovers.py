"""Let a pod go whose attempt is over: it ends, its log is kept, and only then our finalizer is taken off.

Doing it again is harmless, so it is done for whatever pod still has the finalizer, by a run's worker or after it.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from proa.client.protocol import Object
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.operator.back_off import keep_trying
from proa.ml.pipelines.operator.kept_logs import read_log
from proa.ml.pipelines.operator.pod_states import is_over
from proa.ml.pipelines.operator.resources import ATTEMPT, let_go
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.records import Task
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import PODS

logger = logging.getLogger(__name__)


async def clear_away(around: Surroundings, pod: Object, task: Task | None) -> None:
    """Take one step: have a pod that still runs end, or keep the log of one that has ended and let it go.

    `task` is its task as it was recorded; None for one that nobody knows.
    """
    name, namespace = meta.name(pod), meta.namespace(pod)
    longest = around.settings.longest_back_off
    if not is_over(pod):
        if not meta.is_deleting(pod):
            await keep_trying(f"pod {namespace}/{name}", lambda: _delete(around, pod), longest)
        return
    if task is not None and task.log_uri and str(task.attempt) == meta.annotations(pod).get(ATTEMPT):
        await keep_trying(
            f"log of pod {namespace}/{name}", lambda: _keep_log(around, pod, task.log_uri), longest
        )
    await keep_trying(f"pod {namespace}/{name}", lambda: let_go(around.client, PODS, pod), longest)


async def _delete(around: Surroundings, pod: Object) -> None:
    with suppress(NotFound):
        await around.client.delete(
            PODS,
            meta.name(pod),
            meta.namespace(pod),
            grace_period_seconds=around.settings.stop_grace_seconds,
            uid=meta.uid(pod),
        )


async def _keep_log(around: Surroundings, pod: Object, uri: str) -> None:
    """Write the log; one that cannot be had or kept holds nothing up, but is told of."""
    try:
        log = await read_log(around.client, pod, around.settings.log_bytes)
        if log is not None:
            store = await around.stores.of(meta.namespace(pod))
            await store.write(uri, log)
    except (ApiError, ArtifactError, OSError) as error:
        logger.warning(
            "log not kept pod=%s/%s uri=%s error=%s", meta.namespace(pod), meta.name(pod), uri, error
        )
