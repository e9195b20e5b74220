"""Carry out a container: answer it from the cache, or make its pod, follow it, and read what it left."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from proa.client.protocol import Object
from proa.ml.pipelines.artifacts.placement import explain_delivery
from proa.ml.pipelines.artifacts.protocol import ArtifactError, ArtifactStore, Placement
from proa.ml.pipelines.artifacts.uris import make_salt
from proa.ml.pipelines.executor.failures import PATIENCE_SECONDS, explain_end, find_stuck
from proa.ml.pipelines.executor.outputs import read_outputs
from proa.ml.pipelines.executor.pod import make_pod
from proa.ml.pipelines.executor.step import Step, make_step
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.operator.attempt import Attempt, Outcome
from proa.ml.pipelines.operator.back_off import keep_trying, may_pass
from proa.ml.pipelines.operator.caching import find_outputs
from proa.ml.pipelines.operator.kept_logs import log_uri, read_end
from proa.ml.pipelines.operator.pod_names import pod_name
from proa.ml.pipelines.operator.pod_states import has_started, is_ours, is_over, may_be_stuck
from proa.ml.pipelines.records import Artifact, Values
from proa.ml.pipelines.run_objects import RUNS
from proa.objects import meta, pods
from proa.objects.errors import AlreadyExists, ApiError, NotFound
from proa.objects.resource import EVENTS, PODS

MOST_EVENTS = 100


class ContainerAttempt(Attempt):
    """See the module's docstring."""

    _store: ArtifactStore
    _has_slot = False
    _task_root = ""

    @property
    def pod_name(self) -> str:
        """Return its pod's name."""
        if not self._notes.pod_name:
            pipeline = str(self._run.pipeline_spec.get("pipelineInfo", {}).get("name", ""))
            self._notes.pod_name = pod_name(pipeline, self._run.id, self.launch.path, self.launch.attempt)
        return self._notes.pod_name

    async def live(self) -> None:
        """Bring it to its end, and return when that was recorded."""
        try:
            await super().live()
        finally:
            if self._has_slot:
                self._around.slots.give(self._run.id)

    async def _reach_end(self) -> Outcome:
        launch, run = self.launch, self._run
        store = self._store = await self._around.stores.of(run.namespace)
        salt = make_salt(run.id, launch.path, launch.attempt)
        step = make_step(run, launch, run.pipeline_root or store.root, salt)
        self._task_root = step.task_root
        pod = self._find_pod()
        if pod is not None:
            if not self._has_slot:
                self._around.slots.take_now(run.id)
                self._has_slot = True
            return await self._follow(step, pod)
        self._notes.caching, found = await find_outputs(self._around, run, launch, step, store)
        if found is not None:
            self._notes.pod_name = ""
            return self._succeeded(found, is_cached=True)
        self._touch()
        if not self._has_slot:
            await self._around.slots.take(run.id)
            self._has_slot = True
        return await self._follow(step, await self._make_pod(step))

    # Making the pod

    def _find_pod(self) -> Object | None:
        """Return the pod that was made before a crash."""
        found = self._around.pods.get(self.pod_name, self._run.namespace)
        return found if found is not None and self._is_mine(found) else None

    def _is_mine(self, pod: Object) -> bool:
        return is_ours(pod, self._run.id, self.launch.path, self.launch.attempt)

    async def _make_pod(self, step: Step) -> Object:
        """Return its pod, made now; raise StepFailed where the API server will not have it."""
        inputs = [item for items in self.launch.inputs.artifacts.values() for item in items]
        placement: Placement = await self._store.prepare(inputs, step.task_root)
        owner = meta.make_owner_reference(self._owner, RUNS)
        wanted = make_pod(
            self._run, self.launch, step, placement, self.pod_name, owner, self._around.pod_settings
        )
        making = asyncio.ensure_future(self._create_or_adopt(wanted))
        try:
            made = await asyncio.shield(making)
        except asyncio.CancelledError:
            if self._stopping.is_set():  # what is being made is known first, so that it is undone
                with suppress(ApiError, StepFailed):
                    self._around.pods.wrote(await making)
            else:  # the operator ends: the next one finds the pod by its name
                making.cancel()
            raise
        except ApiError as error:
            if may_pass(error):
                raise
            raise StepFailed(f"task '{self.task}': its pod was refused: {error.message}") from error
        self._around.pods.wrote(made)
        return made

    async def _create_or_adopt(self, wanted: Object) -> Object:
        name, namespace = self.pod_name, self._run.namespace
        try:
            return await self._around.client.create(PODS, wanted, namespace)
        except AlreadyExists:
            found = await self._around.client.get(PODS, name, namespace)
        if not self._is_mine(found):
            raise StepFailed(
                f"task '{self.task}': a pod called {name} is already in namespace {namespace}, and is not of this run;"
                " delete it"
            )
        return found

    # Following it

    async def _follow(self, step: Step, pod: Object) -> Outcome:
        """Return what came of the pod."""
        last = await self._until_over(pod)
        if last is None:
            raise explain_end(self.task, None)
        if self._has_slot:
            self._around.slots.give(self._run.id)
            self._has_slot = False
        self._notes.log_uri = log_uri(step.task_root) if has_started(last) else ""
        if pods.phase(last) != "Succeeded":
            raise explain_end(self.task, last, await read_end(self._around.client, last))
        self._notes.exit_code = 0
        await self._seal(step, last)
        outputs = await read_outputs(
            self.launch, step, lambda path, limit: self._store.read_output(step.task_root, path, limit)
        )
        return self._succeeded(await self._with_tags(outputs))

    async def _seal(self, step: Step, pod: Object) -> None:
        try:
            await self._store.seal(step.task_root)
        except ArtifactError as error:
            raise StepFailed(f"task '{self.task}': {error}\n{explain_delivery(pod)}".rstrip()) from error

    async def _until_over(self, pod: Object) -> Object | None:
        """Return the pod as it was in the end, None when it is gone; raise StepFailed for one that cannot start."""
        uid, loop = meta.uid(pod), asyncio.get_running_loop()
        began, look_at, has_begun = loop.time(), loop.time() + PATIENCE_SECONDS, False
        while True:
            self._changed.clear()
            found = self._around.pods.get(self.pod_name, self._run.namespace)
            if found is None or meta.uid(found) != uid:
                return None
            if is_over(found):
                return found
            if not has_begun and has_started(found):
                has_begun = True
                self._begun()
            if has_begun:
                await self._changed.wait()
                continue
            is_time = loop.time() >= look_at
            events = await self._events_of(found) if is_time else []
            if stuck := find_stuck(self.task, found, events, loop.time() - began):
                raise stuck
            if is_time:
                look_at = loop.time() + (loop.time() - began)
            with suppress(TimeoutError):  # not wait_for: on Python 3.11 it may swallow a cancellation
                async with asyncio.timeout_at(look_at):
                    await self._changed.wait()

    async def _events_of(self, pod: Object) -> list[Object]:
        """Return what was said of a pod that does not start, newest last, where that may matter."""
        if not may_be_stuck(pod):
            return []
        selector = f"involvedObject.uid={meta.uid(pod)}"
        listed = await self._around.client.list(
            EVENTS, self._run.namespace, field_selector=selector, limit=MOST_EVENTS
        )
        return sorted(
            listed.items, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or ""
        )

    async def _with_tags(self, outputs: Values) -> Values:
        """Return outputs with what the store says of each artifact's content, by which a cache's hit is judged."""
        now = self._around.now()

        async def tagged(artifact: Artifact) -> Artifact:
            try:
                found = await self._store.stat(artifact.uri)
            except ArtifactError:  # a place that the step chose, and that the store does not know
                found = None
            return replace(artifact, tag=found.tag if found is not None else "", created_at=now)

        names = [*outputs.artifacts]
        flat = [item for items in outputs.artifacts.values() for item in items]
        found = iter(await asyncio.gather(*map(tagged, flat)))
        artifacts = {name: tuple([next(found) for _ in outputs.artifacts[name]]) for name in names}
        return replace(outputs, artifacts=artifacts)

    # Stopping it

    async def _undo(self) -> None:
        """Delete the pod with grace, and return when it has ended."""
        pod = self._find_pod()
        if pod is None:
            self._notes.pod_name = ""
            return
        if not is_over(pod):
            await keep_trying(
                f"pod {self._run.namespace}/{self.pod_name}",
                self._delete_pod,
                self._around.settings.longest_back_off,
                self._tell,
            )
            pod = await self._until_stopped(pod)
        if pod is not None and has_started(pod):
            self._notes.log_uri = log_uri(self._task_root)

    async def _delete_pod(self) -> None:
        with suppress(NotFound):
            await self._around.client.delete(
                PODS,
                self.pod_name,
                self._run.namespace,
                grace_period_seconds=self._around.settings.stop_grace_seconds,
            )

    async def _until_stopped(self, pod: Object) -> Object | None:
        while True:
            self._changed.clear()
            found = self._around.pods.get(self.pod_name, self._run.namespace)
            if found is None or meta.uid(found) != meta.uid(pod) or is_over(found):
                return found
            await self._changed.wait()
