"""Run controllers: give each its caches and its queue, call reconcile for what changed, retry what failed.

A change of a watched object adds the keys that the controller's `WATCHES` name; each key is worked on by one
task at a time. Nothing runs while nothing changes. Follows controller-runtime's
pkg/internal/controller/controller.go and client-go's work queues.
"""

from __future__ import annotations

import asyncio
import logging
import random as default_random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError, Conflict
from proa.objects.resource import Resource
from proa.reconcile.busy_time import BusyTime
from proa.reconcile.clock_jumps import watch_clock
from proa.reconcile.events import EventSink
from proa.reconcile.informer import Informer, InformerFactory, Listener
from proa.reconcile.own_writes import OwnWritesClient
from proa.reconcile.protocol import Context, Controller, Key, TerminalError, Watch
from proa.reconcile.workqueue import ShutDown, WorkQueue

logger = logging.getLogger(__name__)

BUSY_SECONDS = 0.004
"""A reconcile that keeps the loop busy for longer is long."""
REST_FACTOR = 4.0
MAX_REST_SECONDS = 0.25
WORKERS = 8
"""How many keys of one controller are worked on at once, where it does not say (`WORKERS`)."""


class Manager:
    """Owns the informers, queues and tasks of a list of controllers. `settings` reaches them as they are.

    Informers and events use `client`, unless they are another manager's, which it shares; each controller acts as a
    service account, with what `client_of` returns for its name (default: `client`).
    """

    def __init__(
        self,
        client: Client,
        controllers: Sequence[Controller],
        settings: Any = None,
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = default_random.random,
        client_of: Callable[[str], Client] | None = None,
        informers: InformerFactory | None = None,
        events: EventSink | None = None,
    ) -> None:
        self.informers = informers or InformerFactory(client, random=random)
        self.events = events or EventSink(client, now)
        self._shares_informers, self._shares_events = informers is not None, events is not None
        self._listening: list[tuple[Informer, Listener]] = []
        self._client_of = client_of or (lambda account: client)
        self._controllers = controllers
        self._settings = settings
        self._now = now
        self._random = random
        self._runners: list[_Runner] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start everything; return when all caches have synced and work has begun."""
        await self.start_reconciling()
        self.start_self_watching()

    async def start_reconciling(self) -> None:
        """Start informers and workers; return when all caches have synced and work has begun."""
        for controller in self._controllers:
            client = self._client_of(account_name(controller))
            context = Context(
                client=OwnWritesClient(client, self.informers, _label_selectors(controller)),
                caches=self.informers,
                events=self.events.recorder(component_name(controller)),
                now=self._now,
                random=self._random,
                settings=self._settings,
            )
            self._runners.append(_Runner(controller, context))
        watched = [(runner, watch) for runner in self._runners for watch in runner.controller.WATCHES]
        informers = [
            self.informers.informer(
                w.resource, label_selector=w.label_selector, field_selector=w.field_selector
            )
            for _, w in watched
        ]
        for informer, (runner, watch) in zip(informers, watched, strict=True):
            listener = runner.listener(watch)
            self._listening.append((informer, listener))
            informer.listen(listener)
        self.informers.start()
        await self.informers.wait_synced(informers if self._shares_informers else None)
        for runner in self._runners:
            self._tasks.append(asyncio.create_task(runner.run(), name=f"controller {runner.name}"))
        self._tasks.append(asyncio.create_task(watch_clock(self.look_again), name="clock"))

    def look_again(self) -> None:
        """Have every key that waits for a time of day worked on now."""
        for runner in self._runners:
            runner.queue.add_delayed_now()

    def start_self_watching(self) -> None:
        """Have those begin that watch for themselves: it may be all resources, so nobody should wait for it."""
        for runner in self._runners:
            watch_itself = getattr(runner.controller, "run", None)
            if watch_itself is not None:
                task = watch_itself(runner.context, runner.queue.add)
                self._tasks.append(asyncio.create_task(task, name=f"controller {runner.name} watching"))

    async def run(self) -> None:
        """Start, and run until cancelled or until a controller's own task fails; then stop."""
        try:
            await self.start()
            await asyncio.gather(*self._tasks)
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End every task, drop what waits, and write the last events."""
        for runner in self._runners:
            runner.queue.shut_down()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for informer, listener in self._listening:
            informer.unlisten(listener)
        self._listening.clear()
        if not self._shares_informers:
            await self.informers.stop()
        if not self._shares_events:
            await self.events.stop()

    def queue_depths(self) -> dict[str, float]:
        """Return how many keys are ready to be worked on, for each controller's name."""
        return {runner.name: float(len(runner.queue)) for runner in self._runners}

    def is_idle(self) -> bool:
        """Tell whether no key is being worked on or ready to be."""
        return all(runner.is_idle for runner in self._runners)


def component_name(controller: Controller) -> str:
    """Return the source of the controller's events: `COMPONENT`, or "replicaset-controller" for "replicaset"."""
    if component := getattr(controller, "COMPONENT", ""):
        return str(component)
    return controller.NAME if controller.NAME.endswith("-controller") else f"{controller.NAME}-controller"


def account_name(controller: Controller) -> str:
    """Return the account of kube-system that the controller acts as: `ACCOUNT`, or what its events come from."""
    account: str = getattr(controller, "ACCOUNT", "") or component_name(controller)
    return account


def _label_selectors(controller: Controller) -> dict[Resource, list[str]]:
    """Return those of the controller's caches that hold what a label selector selects."""
    found: dict[Resource, list[str]] = {}
    for watch in controller.WATCHES:
        if watch.label_selector and not watch.field_selector:
            found.setdefault(watch.resource, []).append(watch.label_selector)
    return found


def _rest_after(busy_seconds: float) -> float:
    """Return how long a key rests: one whose reconcile is long takes no more than a fifth of the time.

    A ReplicaSet looks at all of its pods whichever of them changes: a thousand that start at once are a few passes.
    """
    return min(REST_FACTOR * busy_seconds, MAX_REST_SECONDS) if busy_seconds > BUSY_SECONDS else 0.0


class _Runner:
    """One controller's queue and workers."""

    def __init__(self, controller: Controller, context: Context) -> None:
        self.controller = controller
        self.context = context
        self.name = controller.NAME
        self.queue: WorkQueue[Key] = WorkQueue()
        self._workers = asyncio.Semaphore(getattr(controller, "WORKERS", WORKERS))
        self._working: set[asyncio.Task[None]] = set()
        self._reported: dict[Key, str] = {}

    @property
    def is_idle(self) -> bool:
        return not self._working and not self.queue.has_work

    def listener(self, watch: Watch) -> Callable[[Object | None, Object | None], None]:
        """Return what adds the keys that a change concerns, as seen before and after it."""

        add, ignores, keys_of = self.queue.add, watch.ignores, self._keys_of(watch)

        def listen(old: Object | None, new: Object | None) -> None:
            if old is not None:
                if ignores is not None and new is not None and ignores(old, new):
                    return
                for key in keys_of(old):
                    add(key)
            if new is not None:
                for key in keys_of(new):
                    add(key)

        return listen

    def _keys_of(self, watch: Watch) -> Callable[[Object], Iterable[Key]]:
        if watch.keys_of is not None:
            return watch.keys_of
        find_keys, caches = watch.find_keys, self.context.caches
        if find_keys is not None:
            return lambda obj: find_keys(obj, caches)
        return lambda obj: (Key(meta.namespace(obj), meta.name(obj)),)

    async def run(self) -> None:
        """Work on keys as they come, several at once, until the queue is shut down."""
        try:
            while True:
                await self._workers.acquire()
                key = await self.queue.get()
                task = asyncio.create_task(self._work(key))
                self._working.add(task)
                task.add_done_callback(self._working.discard)
        except ShutDown:
            return
        finally:
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)

    async def _work(self, key: Key) -> None:
        work = BusyTime(self.controller.reconcile(self.context, key))
        try:
            result = await work
        except Conflict:
            self.queue.add_rate_limited(key)
        except TerminalError as error:
            self._give_up(key, error)
        except ApiError as error:
            self._retry(key, error, with_traceback=False)
        except Exception as error:
            self._retry(key, error, with_traceback=True)
        else:
            self._reported.pop(key, None)
            self.queue.forget(key)
            if result.requeue_after > 0:
                self.queue.add_after(key, result.requeue_after)
        finally:
            self.queue.done(key, _rest_after(work.seconds))
            self._workers.release()

    def _give_up(self, key: Key, error: Exception) -> None:
        self.queue.forget(key)
        self._report(key, error, "will not be retried until it changes", with_traceback=False)

    def _retry(self, key: Key, error: Exception, *, with_traceback: bool) -> None:
        attempt = self.queue.failures(key) + 1
        delay = self.queue.add_rate_limited(key)
        self._report(
            key, error, f"attempt={attempt} retry_seconds={delay:.3f}", with_traceback=with_traceback
        )

    def _report(self, key: Key, error: Exception, outcome: str, *, with_traceback: bool) -> None:
        """Log an error once for as long as it stays the same."""
        text = f"{type(error).__name__}: {error}"
        if self._reported.get(key) == text:
            return
        self._reported[key] = text
        logger.error(
            "reconcile failed controller=%s namespace=%s name=%s %s error=%s",
            self.name,
            key.namespace,
            key.name,
            outcome,
            text,
            exc_info=error if with_traceback else None,
        )
