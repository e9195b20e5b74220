"""Have every unfinished run worked on, by one worker each; clean up after those that are over.

Watches Run objects and steps' pods, in all namespaces, through the Kubernetes API alone. The database says what has
happened; objects and pods are brought in line with it, from whatever state a crash left them in. Of several operators
on one database one works at a time: whoever runs them sees to that.
"""

from __future__ import annotations

import asyncio
import logging
import random as default_random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from proa.client.protocol import Client, Object
from proa.ml.database import errors as database_errors
from proa.ml.pipelines.executor.pod import PodSettings
from proa.ml.pipelines.operator.accounts import Accounts
from proa.ml.pipelines.operator.intake import is_object_of, refuse_foreign, take_in
from proa.ml.pipelines.operator.leftovers import clear_away
from proa.ml.pipelines.operator.resources import (
    POD_SELECTOR,
    attempt_of,
    ensure_definition,
    let_go,
    run_id_of,
)
from proa.ml.pipelines.operator.run_status import Counts, make_status, write_status
from proa.ml.pipelines.operator.settings import OperatorSettings
from proa.ml.pipelines.operator.slots import PodSlots
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.operator.time_to_live import seconds_left
from proa.ml.pipelines.operator.worker import RunWorker
from proa.ml.pipelines.records import FINAL_RUN_STATES, Run, RunState, make_task_id
from proa.ml.pipelines.run_objects import FINALIZER, RUNS, make_object
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, NotFound
from proa.objects.resource import PODS
from proa.reconcile.events import EventSink
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import Key
from proa.reconcile.workqueue import ShutDown, WorkQueue

if TYPE_CHECKING:
    from proa.ml.pipelines.artifacts.choice import ArtifactStores
    from proa.ml.pipelines.database.database import Database

logger = logging.getLogger(__name__)

ACCOUNT = "pipelines-operator"
READERS = 8
"""How many Run objects are looked at at once."""


class Operator:
    """`now` returns seconds since the epoch; `random` as `random.random`.

    `recurring_ended` is told the id of a recurring run when one of its runs is over.
    """

    def __init__(
        self,
        client: Client,
        database: Database,
        stores: ArtifactStores,
        settings: OperatorSettings,
        now: Callable[[], float],
        pod_settings: PodSettings = PodSettings(),  # noqa: B008 - a constant
        random: Callable[[], float] = default_random.random,
        recurring_ended: Callable[[str], None] = lambda recurring_run_id: None,
    ) -> None:
        self._client = client
        self._informers = InformerFactory(client, random=random)
        self._events = EventSink(client, now)
        pods = self._informers.informer(PODS, label_selector=POD_SELECTOR)
        pods.add_index("run", lambda pod: (run_id_of(pod),))
        self._around = Surroundings(
            client=client,
            database=database,
            stores=stores,
            events=self._events.recorder(ACCOUNT),
            pods=pods,
            runs=self._informers.informer(RUNS),
            slots=PodSlots(settings.pods_in_all, settings.pods_of_a_run),
            accounts=Accounts(client),
            settings=settings,
            pod_settings=pod_settings,
            now=now,
        )
        self._recurring_ended = recurring_ended
        self._workers: dict[str, RunWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sweeps: set[asyncio.Task[None]] = set()
        self._keys: WorkQueue[Key]

    @property
    def running(self) -> int:
        """Return how many runs are worked on."""
        return len(self._workers)

    async def run(self) -> None:
        """Work until cancelled; what is under way goes on when an operator starts again."""
        self._keys = WorkQueue()
        try:
            await ensure_definition(self._client)
            self._informers.start()
            await self._informers.wait_synced()
            await self._recover()
            self._around.runs.listen(self._run_changed)
            self._around.pods.listen(self._pod_changed)
            await asyncio.gather(*(self._follow() for _ in range(READERS)))
        finally:
            self._keys.shut_down()
            await self._stop()

    async def _stop(self) -> None:
        self._around.runs.unlisten(self._run_changed)
        self._around.pods.unlisten(self._pod_changed)
        tasks = [*self._tasks.values(), *self._sweeps]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._informers.stop()
        await self._events.stop()

    async def _recover(self) -> None:
        """Make the objects of unfinished runs that have none: a crash came between row and object."""
        for run in await self._around.database.runs.unfinished():
            if self._around.runs.get(run.name, run.namespace) is None:
                with suppress(AlreadyExists):
                    made = await self._create_object(run)
                    if made is not None:
                        self._around.runs.wrote(made)

    async def _create_object(self, run: Run) -> Object | None:
        try:
            return await self._client.create(RUNS, make_object(run), run.namespace)
        except ApiError as error:
            if isinstance(error, AlreadyExists) or error.code >= 500:
                raise
            now, message = self._around.now(), f"the run's object cannot be made: {error.message}"
            states = (*run.states, (RunState.FAILED, now))
            over = replace(run, state=RunState.FAILED, error=message, finished_at=now, states=states)
            await self._around.database.record(run=over)
            return None

    # What changed

    def _run_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is None:
            return
        worker = self._workers.get(object_run_id(obj))
        if worker is not None and worker.is_of(obj):
            worker.object_changed(new)
        else:
            self._keys.add(Key(meta.namespace(obj), meta.name(obj)))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        if pod is None:
            return
        run_id = run_id_of(pod)
        worker = self._workers.get(run_id)
        if worker is not None:
            worker.pod_changed(pod)
        elif new is not None and FINALIZER in meta.finalizers(new):
            self._sweep(run_id)

    async def _follow(self) -> None:
        try:
            while True:
                key = await self._keys.get()
                try:
                    await self._look_at(key)
                except (ApiError, database_errors.DatabaseError) as error:
                    seconds = self._keys.add_rate_limited(key)
                    logger.warning(
                        "run %s: looked at again in %.1f s error=%s", "/".join(key), seconds, error
                    )
                except Exception:
                    logger.exception("run %s", "/".join(key))
                    self._keys.add_rate_limited(key)
                else:
                    self._keys.forget(key)
                finally:
                    self._keys.done(key)
        except ShutDown:
            return

    # One Run object

    async def _look_at(self, key: Key) -> None:
        """Bring one Run object in line with its row; begin to work on it where it is not over."""
        obj = self._around.runs.get(key.name, key.namespace)
        if obj is None:
            return
        worker = self._workers.get(object_run_id(obj))
        if worker is not None and worker.is_of(obj):
            return
        run = await self._find_row(obj)
        if run is None:
            if meta.is_deleting(obj):
                await let_go(self._client, RUNS, obj)
            return
        wanted = (obj.get("spec") or {}).get("retries") or 0
        if run.state in FINAL_RUN_STATES and (wanted <= run.retries or meta.is_deleting(obj)):
            await self._settle(key, obj, run)
            return
        if FINALIZER not in meta.finalizers(obj) and not meta.is_deleting(obj):
            obj = await self._hold(obj)
        self._work(run, obj, wanted)

    async def _find_row(self, obj: Object) -> Run | None:
        """Return what the database has of an object's run; one that was applied by hand gets its row.

        Who may make an object may not so ask for another one's run, least of all another namespace's: it is refused.
        """
        run_id = object_run_id(obj)
        try:
            run = await self._around.database.runs.get(run_id, with_spec=True)
        except database_errors.NotFound:
            return None if meta.is_deleting(obj) else await take_in(self._around, obj)
        if is_object_of(obj, run):
            return run
        if not meta.is_deleting(obj):
            await refuse_foreign(self._around, obj)
        return None

    async def _hold(self, obj: Object) -> Object:
        """Put our finalizer on, so that a run whose object is deleted is ended and recorded first."""
        finalizers = [*meta.finalizers(obj), FINALIZER]
        metadata = {"finalizers": finalizers, "resourceVersion": meta.resource_version(obj)}
        held = await self._client.patch(RUNS, meta.name(obj), {"metadata": metadata}, meta.namespace(obj))
        self._around.runs.wrote(held)
        return held

    async def _settle(self, key: Key, obj: Object, run: Run) -> None:
        """Do what is due for a run that is over: its status, then, in time, the end of its object."""
        if meta.is_deleting(obj):
            await let_go(self._client, RUNS, obj)
            return
        status = obj.get("status") or {}
        if status.get("state") != run.state.value or not status.get("finishedAt"):
            counts = Counts()
            counts.put(await self._around.database.tasks.of(run.id))
            await write_status(
                self._client,
                obj,
                make_status(run, counts.states, "", status, meta.generation(obj), self._around.now()),
            )
        if FINALIZER in meta.finalizers(obj):
            await let_go(self._client, RUNS, obj)
        left = seconds_left(run, self._around.settings.object_ttl_seconds, self._around.now())
        if left is None:
            return
        if left > 0:
            self._keys.add_after(key, left)
            return
        with suppress(NotFound):
            await self._client.delete(
                RUNS, key.name, key.namespace, propagation_policy="Background", uid=meta.uid(obj)
            )

    # Workers

    def _work(self, run: Run, obj: Object, retries: int) -> None:
        if run.id not in self._tasks:
            self._tasks[run.id] = asyncio.create_task(self._work_on(run, obj, retries), name=f"run {run.id}")

    async def _work_on(self, run: Run, obj: Object, retries: int) -> None:
        key = Key(meta.namespace(obj), meta.name(obj))
        try:
            tasks = await self._around.database.tasks.of(run.id)
            worker = self._workers[run.id] = RunWorker(self._around, run, tasks, obj)
            await worker.work(retries)
        except Exception:
            logger.exception("run's worker failed run=%s", run.id)
            self._keys.add_rate_limited(key)
        else:
            self._keys.add(key)
            self._sweep(run.id)
            if run.recurring_run_id:
                self._recurring_ended(run.recurring_run_id)
        finally:
            self._workers.pop(run.id, None)
            self._tasks.pop(run.id, None)

    # Pods of runs that nobody works on

    def _sweep(self, run_id: str) -> None:
        task = asyncio.create_task(self._clear_pods(run_id), name=f"pods of run {run_id}")
        self._sweeps.add(task)
        task.add_done_callback(self._sweeps.discard)

    async def _clear_pods(self, run_id: str) -> None:
        """Let go the pods of a run that is over or unknown; those of an unfinished one are for its worker."""
        found = await self._around.database.runs.get_many([run_id])
        run = found.get(run_id)
        if run is not None and run.state not in FINAL_RUN_STATES:
            return
        for pod in self._around.pods.by_index("run", run_id):
            if FINALIZER not in meta.finalizers(pod) or run_id in self._workers:
                continue
            place = attempt_of(pod)
            tasks = await self._around.database.tasks.get_many(
                [make_task_id(run_id, place[0])] if run is not None and place is not None else []
            )
            await clear_away(self._around, pod, next(iter(tasks.values()), None))


def object_run_id(obj: Object) -> str:
    """Return the id of an object's run: what its spec names, else its own uid."""
    return str((obj.get("spec") or {}).get("runId") or meta.uid(obj))
