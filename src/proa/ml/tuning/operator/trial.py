"""Have a Trial's run made, followed to its end, its metrics kept, and then the run removed.

Watches Trials, their runs of any kind (runs.py) and their pods; writes runs, the Trial's status and the database of
observations. Each step can be repeated: metrics are kept before the status says so, the status is written before the
run is removed. A run that cannot start is told in the Running condition at once, and ends the Trial in time.
Source: pkg/controller.v1beta1/trial/trial_controller.go of kubeflow/katib.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from proa.client.protocol import Object
from proa.ml.database.errors import Unavailable
from proa.ml.tuning.kinds import TRIAL_LABEL, TRIALS
from proa.ml.tuning.operator import trial_plan
from proa.ml.tuning.operator.parts import ACCOUNT, Parts
from proa.ml.tuning.operator.runs import Runs
from proa.ml.tuning.operator.trial_step import AGAIN_SECONDS, Step
from proa.objects import meta
from proa.objects.resource import PODS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

logger = logging.getLogger(__name__)


def _keys_of_pod(pod: Object) -> Iterable[Key]:
    if trial := meta.labels(pod).get(TRIAL_LABEL):
        yield Key(meta.namespace(pod), trial)


class TrialController:
    """`reconcile.protocol.SelfWatching`; remembers since when runs that have ended owe their metrics."""

    NAME = "trial"
    ACCOUNT = ACCOUNT
    WORKERS = 32
    WATCHES: Sequence[Watch] = (
        Watch(TRIALS),
        Watch(PODS, keys_of=_keys_of_pod, label_selector=TRIAL_LABEL),
    )

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runs: asyncio.Future[Runs] | None = None
        self._owing: dict[str, float] = {}

    async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
        """Follow runs until cancelled."""
        runs = Runs(context.client, enqueue, context.now)
        self._following().set_result(runs)
        try:
            await asyncio.Event().wait()
        finally:
            self._runs = None
            await runs.stop()

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring one Trial a step on."""
        trial = context.caches(TRIALS).get(key.name, key.namespace)
        if trial is None or meta.is_deleting(trial):
            return DONE
        runs = await asyncio.shield(self._following())
        step = Step(self._parts, context, trial, runs, self._owing)
        try:
            return await (step.clear_away() if trial_plan.is_over(trial) else step.advance())
        except Unavailable as error:
            logger.warning("observations wait for their database: %s", error)
            return Result(AGAIN_SECONDS)

    def _following(self) -> asyncio.Future[Runs]:
        if self._runs is None:
            self._runs = asyncio.get_running_loop().create_future()
        return self._runs
