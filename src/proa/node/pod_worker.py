"""Bring one pod to where its spec wants it: ask `decide`, perform the steps, publish the status, wait.

A worker has a task only while there is something to do. What takes long (killing, hooks) runs beside it, so
that every change is seen at once. Follows pkg/kubelet/pod_workers.go and kubelet.go (SyncPod).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from math import inf

from proa.client.protocol import Object
from proa.node import pod_ending as ending
from proa.node import pod_lifecycle as lifecycle
from proa.node import pod_steps as steps
from proa.node.backoff import BackOff, next_backoff
from proa.node.claim_preparation import REASON as CLAIMS_REASON
from proa.node.claim_preparation import why_unprepared
from proa.node.container_status import pod_description
from proa.node.device_manager import REASON as DEVICES_REASON
from proa.node.environment import ConfigError
from proa.node.node_services import NodeServices
from proa.node.pod_containers import PodContainers
from proa.node.pod_handle import PodHandle
from proa.node.pod_resize import PodResize
from proa.node.pod_status import pod_status
from proa.node.pod_view import Ended, Health, PodView
from proa.node.probes.prober import Target
from proa.node.runtime_classes import runtime_handler
from proa.node.runtimes.protocol import Container, RuntimeFailure
from proa.node.sandbox_config import log_directory, make_sandbox_config
from proa.node.termination import read_message
from proa.node.unsupported import unsupported_fields
from proa.node.volumes.errors import VolumeError
from proa.node.volumes.mounter import MountedVolumes
from proa.node.volumes.payloads import sources_of
from proa.objects.errors import ApiError, Conflict, NotFound
from proa.objects.meta import format_time, is_deleting, name, namespace, uid
from proa.objects.pods import is_terminated
from proa.objects.resource import PODS

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.5
MAX_VOLUME_RETRY_SECONDS = 122.0
MAX_RETRY_SECONDS = 30.0
EVICTION_GRACE_SECONDS = 1.0


class PodWorker:
    """One pod's worker. `on_gone` is called once nothing of the pod is left on this node.

    `is_known` is False for a pod that the API does not know (any more): it is only cleaned up.
    """

    def __init__(
        self, node: NodeServices, pod: Object, on_gone: Callable[[str], None], *, is_known: bool = True
    ) -> None:
        self.uid = uid(pod)
        self._node = node
        self._pod = PodHandle(node, pod, is_known=is_known)
        self._containers = PodContainers(self._pod, lambda: self._mounted, self.wake)
        self._resize = PodResize(self._pod, self._other_pods)
        self._on_gone = on_gone
        self._first_seen = node.now()
        self._task: asyncio.Task[None] | None = None
        self._is_dirty = False
        self._is_gone = False
        self._timer: asyncio.TimerHandle | None = None
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._ended: Ended | None = None
        self._mounted: MountedVolumes | None = None
        self._must_refresh = False
        self._volumes_backoff: BackOff | None = None
        self._volumes_retry_at = 0.0
        self._sandbox_retry_at = 0.0
        self._told_backoffs: set[str] = set()
        self._messages: dict[str, str] = {}

    @property
    def pod(self) -> Object:
        """Return the pod as the API has it now."""
        return self._pod.pod

    @property
    def is_known(self) -> bool:
        """Tell whether the pod is somebody's wish still, not a leftover."""
        return self._pod.is_known

    # What the kubelet calls

    def update(self, pod: Object) -> None:
        """Take in the pod as the API has it now."""
        shorter = _shorter_grace(self.pod, pod)
        if _says_otherwise(self.pod, pod):
            self._containers.retry_configuration()
            self._must_refresh = True
        self._pod.pod = pod
        if shorter is not None:
            self._containers.shorten_grace(shorter)
        self.wake()

    def vanish(self) -> None:
        """The API does not know the pod any more: kill and forget it."""
        self._pod.is_known = False
        if not is_deleting(self.pod):
            grace = self._node.settings.orphan_grace_seconds
            self._pod.pod = mark_deleting(self.pod, grace)
        self.wake()

    def evict(self, reason: str, message: str) -> None:
        """End the pod for what it takes of the node, at once."""
        if self._ended is None and not is_deleting(self.pod):
            self._pod.event("Warning", reason, message)
            self._ended = Ended(reason, message, EVICTION_GRACE_SECONDS, disrupted=True)
            self.wake()

    def preempt(self, reason: str, message: str) -> None:
        """End the pod to make room for one that the cluster cannot do without."""
        if self._ended is None and not is_deleting(self.pod):
            self._pod.event("Warning", reason, message)
            self._ended = Ended(reason, message, disrupted=True)
            self.wake()

    def refresh_volumes(self) -> None:
        """Something that the pod's volumes show has changed."""
        self._must_refresh = True
        self._containers.retry_configuration()
        self._volumes_retry_at = 0.0
        self.wake()

    def wake(self) -> None:
        """Look at the pod soon."""
        self._is_dirty = True
        if self._task is None and not self._is_gone:
            self._task = asyncio.create_task(self._run(), name=f"pod {namespace(self.pod)}/{name(self.pod)}")

    async def stop(self) -> None:
        """Stop looking at the pod; what runs goes on running."""
        self._is_gone = True
        self._cancel_timer()
        tasks = [*self._containers.tasks, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """End the containers, preStop hooks first, within their grace but at most so long; the object stays."""
        view = self.view()
        running = [c for c in view.containers if c.state == "Running"]
        grace = min(ending.grace_seconds(self.pod), seconds)
        await self._containers.kill_all(ending.kills_in_order(view, running, grace))
        if view.sandbox is not None and view.sandbox.state == "Ready":
            await self._node.runtime.stop_sandbox(view.sandbox.id)

    def view(self) -> PodView:
        """Return all that is known of the pod now."""
        node = self._node
        containers = tuple(self._with_message(c) for c in node.cache.containers(self.uid))
        sandboxes = node.cache.sandboxes(self.uid)
        return self._resize.judged(
            PodView(
                pod=self.pod,
                sandbox=sandboxes[0] if sandboxes else None,
                containers=containers,
                volumes_ready=self._mounted is not None,
                volumes_retry_at=self._volumes_retry_at,
                sandbox_retry_at=self._sandbox_retry_at,
                killing=frozenset(self._containers.killing),
                pulling=self._containers.pulling,
                hooks_pending=frozenset(self._containers.hooks),
                health=self._health(containers),
                failures=dict(self._containers.failures),
                backoffs=dict(self._containers.backoffs),
                ended=self._ended,
                host_ip=node.machine.ip,
                host_ipv6=node.machine.ipv6,
                started_at=self._first_seen,
            )
        )

    def _other_pods(self) -> list[Object]:
        """Return the pods that have a part of the node beside this one."""
        return [pod for pod in self._node.pods() if uid(pod) != self.uid and not is_terminated(pod)]

    @property
    def waits_for_room(self) -> bool:
        """Tell whether a change of the pod's resources waits for others to go."""
        return self._resize.is_pending

    # The loop

    async def _run(self) -> None:
        try:
            while self._is_dirty and not self._is_gone:
                self._is_dirty = False
                try:
                    await self._sync()
                    self._retry_seconds = FIRST_RETRY_SECONDS
                except (RuntimeFailure, ApiError, OSError) as error:
                    self._retry_later(error)
                except Exception as error:
                    logger.exception("pod not synced pod=%s", pod_description(self.pod))
                    self._retry_later(error)
        finally:
            self._task = None
        if self._is_gone:
            self._on_gone(self.uid)

    def _retry_later(self, error: Exception) -> None:
        logger.warning("pod not synced, will retry pod=%s error=%s", pod_description(self.pod), error)
        self._set_timer(self._node.now() + self._retry_seconds)
        self._retry_seconds = min(self._retry_seconds * 2, MAX_RETRY_SECONDS)

    async def _sync(self) -> None:
        if self._ended is None and not self._node.admission.is_admitted(self.uid):
            await self._admit()
        now = self._node.now()
        await self._refresh_if_due(now)
        view = self.view()
        self._check_deadline(view, now)
        view = self.view() if self._ended else view
        self._watch_probes(view)
        decision = lifecycle.decide(view, now)
        self._tell_backoffs(view, now)
        if self._pod.is_known and not self._is_gone:
            self._node.statuses.put(self.pod, pod_status(self.view(), now))
        if not decision.steps:
            refresh_at = self._mounted.refresh_at if self._mounted else inf
            self._set_timer(min(decision.wake_at, refresh_at))
            return
        for step in decision.steps:
            await self._perform(step)
        self._is_dirty = True

    async def _admit(self) -> None:
        """Let the pod in, or end it before it began; what runs already, or is to go, has been let in before."""
        admission, pod = self._node.admission, self.pod
        has_run = (pod.get("status") or {}).get("startTime") or self._node.cache.sandboxes(self.uid)
        if has_run or is_deleting(pod) or is_terminated(pod):
            admission.take(self.uid)
            return
        why = await admission.admit(pod)
        if why is not None:
            self._pod.event("Warning", why.reason, why.message)
            self._ended = Ended(why.reason, f"Pod was rejected: {why.message}", rejected=True)

    def _check_deadline(self, view: PodView, now: float) -> None:
        if self._ended or is_deleting(self.pod) or lifecycle.is_finished(view):
            return
        self._ended = lifecycle.past_deadline(view, now)
        if self._ended:
            self._pod.event("Normal", self._ended.reason, self._ended.message)

    def _tell_backoffs(self, view: PodView, now: float) -> None:
        """Record one BackOff event for each wait."""
        for container_name in self._containers.backoffs:
            newest = view.newest(container_name)
            if newest is None or newest.id in self._told_backoffs or is_deleting(self.pod):
                continue
            if lifecycle.crash_loop(view, container_name, now):
                self._told_backoffs.add(newest.id)
                place = f"container {container_name} in pod {pod_description(self.pod)}"
                self._pod.event("Warning", "BackOff", f"Back-off restarting failed {place}", container_name)

    def _set_timer(self, at: float) -> None:
        self._cancel_timer()
        if at < inf and not self._is_gone:
            delay = max(at - self._node.now(), 0.0) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay, self.wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Steps

    async def _perform(self, step: steps.Step) -> None:
        match step:
            case steps.MountVolumes():
                await self._mount()
            case steps.MakeSandbox():
                await self._make_sandbox(step.attempt)
            case steps.StartContainer():
                await self._containers.start(step)
            case steps.KillContainer():
                self._containers.begin_kill(step)
            case steps.ResizeContainer() | steps.ResizePod():
                try:
                    await self._containers.resize(step)
                except RuntimeFailure as failure:
                    self._resize.failed(failure.message)
            case steps.RemoveContainer():
                await self._containers.remove(step.container_id)
                self._messages.pop(step.container_id, None)
            case steps.StopSandbox():
                await self._stop_sandbox(step.sandbox_id)
            case steps.UnmountVolumes():
                self._mounted = None
                self._node.sources.unfollow(self.uid)
                await self._node.mounter.unmount(self.uid)
            case steps.Finish():
                await self._finish()

    async def _mount(self) -> None:
        node = self._node
        keys = sources_of(self.pod)
        node.sources.follow(self.uid, keys)
        try:
            self._mounted = await node.mounter.mount(self.pod, self._pod.downward())
        except VolumeError as error:
            now = node.now()
            backoff = next_backoff(self._volumes_backoff, now, FIRST_RETRY_SECONDS, MAX_VOLUME_RETRY_SECONDS)
            self._volumes_backoff = backoff
            self._volumes_retry_at = now + backoff.delay_seconds
            self._pod.event("Warning", "FailedMount", str(error))
            return
        self._volumes_backoff = None

    async def _refresh_if_due(self, now: float) -> None:
        """Build anew what volumes show; a failure leaves the old files and is tried again."""
        if self._mounted is None or not (self._must_refresh or self._mounted.refresh_at <= now):
            return
        self._must_refresh = False
        try:
            self._mounted = await self._node.mounter.refresh(self.pod, self._pod.downward(), self._mounted)
        except VolumeError as error:
            self._pod.event("Warning", "FailedMount", str(error))
            self._mounted.refresh_at = now + self._node.settings.retry_seconds

    async def _make_sandbox(self, attempt: int) -> None:
        node = self._node
        if not await self._prepare():
            return
        try:
            handler = await runtime_handler(self.pod, node.sources.get)
            config = make_sandbox_config(self.pod, node.settings, attempt, handler)
        except (ConfigError, NotFound) as error:
            self._fail_sandbox(f'Failed to create sandbox for pod "{pod_description(self.pod)}": {error}')
            return
        ignored = unsupported_fields(self.pod, node.devices.resources) if not attempt else []
        if ignored:
            self._pod.event("Warning", "NotSupported", f"This node does not carry out {', '.join(ignored)}")
        log_directory(self.pod, node.settings.logs_directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        async with node.start_slots:
            try:
                sandbox = await node.runtime.run_sandbox(config)
            except RuntimeFailure as failure:
                self._fail_sandbox(f"Failed to create pod sandbox: {failure.message}")
                return
        try:
            addresses = [] if config.host_network else [ip for ip in (sandbox.ip, sandbox.ipv6) if ip]
            await node.protect(self.pod, addresses)
        except (RuntimeFailure, OSError) as error:
            await node.runtime.remove_sandbox(sandbox.id)
            self._fail_sandbox(f"Failed to set up network policies for the pod: {error}")
            return
        for old in node.cache.sandboxes(self.uid)[1:]:
            await node.runtime.remove_sandbox(old.id)
            node.cache.drop_sandbox(old.id)
        if attempt:
            self._pod.event(
                "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
            )
        node.cache.put_sandbox(sandbox)

    def _fail_sandbox(self, message: str) -> None:
        self._sandbox_retry_at = self._node.now() + self._node.settings.retry_seconds
        self._pod.event("Warning", "FailedCreatePodSandBox", message)

    async def _prepare(self) -> bool:
        """Give the pod its devices; tell whether it has all, else it is tried again."""
        node = self._node
        reason, why = DEVICES_REASON, node.devices.admit(self.pod)
        if not why:
            reason, why = CLAIMS_REASON, await why_unprepared(node.client, self.pod)
        if why:
            self._sandbox_retry_at = node.now() + node.settings.retry_seconds
            self._pod.event("Warning", reason, why)
        return not why

    async def _stop_sandbox(self, sandbox_id: str) -> None:
        await self._node.runtime.stop_sandbox(sandbox_id)
        for sandbox in self._node.cache.sandboxes(self.uid):
            if sandbox.id == sandbox_id:
                self._node.cache.put_sandbox(replace(sandbox, state="NotReady"))

    async def _finish(self) -> None:
        """Leave nothing of the pod on this node, then let the API forget it."""
        node = self._node
        if self._pod.is_known:
            node.statuses.put(self.pod, pod_status(self.view(), node.now()))
            await node.statuses.flush(self.uid)
        node.sources.unfollow(self.uid)
        for sandbox in node.cache.sandboxes(self.uid):
            await node.runtime.remove_sandbox(sandbox.id)
            node.cache.drop_sandbox(sandbox.id)
        await node.mounter.forget(self.uid)
        logs = log_directory(self.pod, node.settings.logs_directory)
        await asyncio.to_thread(shutil.rmtree, logs, True)
        if self._pod.is_known:
            await self._delete()
        self._is_gone = True
        self._cancel_timer()
        node.images.forget(self.uid)
        node.statuses.forget(self.uid)

    async def _delete(self) -> None:
        try:
            await self._node.client.delete(
                PODS, name(self.pod), namespace(self.pod), grace_period_seconds=0, uid=self.uid
            )
        except (NotFound, Conflict):
            logger.debug("pod was gone already pod=%s", pod_description(self.pod))

    # Helpers

    def _watch_probes(self, view: PodView) -> None:
        probes = self._node.probes
        running = {c.id: c for c in view.containers if c.state == "Running"}
        for container_id, running_container in running.items():
            container = self._pod.find_container(running_container.config.name)
            if container is not None and self._pod.pod_ip():
                probes.watch(
                    self.pod,
                    Target(container_id, container, self._pod.pod_ip()),
                    running_container.started_at,
                    self.wake,
                    self._pod.field_path(container["name"]),
                    self._pod.known_as(container["name"], container_id),
                )
        for known in view.containers:
            if known.id not in running:
                probes.forget(known.id)

    def _health(self, containers: tuple[Container, ...]) -> dict[str, Health]:
        found: dict[str, Health] = {}
        for running in containers:
            container = self._pod.find_container(running.config.name)
            if running.state == "Running" and container is not None:
                found[running.id] = self._node.probes.health(running.id, container)
        return found

    def _with_message(self, container: Container) -> Container:
        """Return the container with what it left as its last words."""
        if container.state != "Exited" or container.message:
            return container
        if container.id not in self._messages:
            spec = self._pod.find_container(container.config.name) or {}
            self._messages[container.id] = read_message(container, spec)
        message = self._messages[container.id]
        return replace(container, message=message) if message else container


def mark_deleting(pod: Object, grace_seconds: float, until: float = 0.0) -> Object:
    """Return a copy of the pod that is being deleted and has time `until` then (epoch seconds)."""
    metadata = {
        **pod["metadata"],
        "deletionTimestamp": format_time(until),
        "deletionGracePeriodSeconds": int(grace_seconds),
    }
    return {**pod, "metadata": metadata}


def _says_otherwise(old: Object, new: Object) -> bool:
    """Tell whether what containers may be configured by has changed in the pod itself."""
    keys = ("generation", "labels", "annotations")
    return any(old["metadata"].get(key) != new["metadata"].get(key) for key in keys)


def _shorter_grace(old: Object, new: Object) -> float | None:
    """Return the new grace when a deletion that is under way got less time."""
    before = old["metadata"].get("deletionGracePeriodSeconds")
    after = new["metadata"].get("deletionGracePeriodSeconds")
    return float(after) if before is not None and after is not None and after < before else None
