"""Bring one pod to where its spec wants it: ask `decide`, perform the steps, publish the status, wait.

A worker has a task only while there is something to do. What takes long (killing, hooks) runs beside it, so
that every change is seen at once. Follows pkg/kubelet/pod_workers.go and kubelet.go (SyncPod).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from math import inf
from typing import Any

from proa.client.protocol import Object
from proa.node import pod_lifecycle as lifecycle
from proa.node.backoff import BackOff, next_backoff
from proa.node.container_config import make_container_config
from proa.node.downward import DownwardSource, FieldError
from proa.node.environment import ConfigError, make_environment
from proa.node.hooks import HookFailed, run_hook
from proa.node.images import ImageEvent, ImageFailure
from proa.node.node_services import NodeServices
from proa.node.pod_view import Ended, Health, PodView, StartFailure
from proa.node.probes.manager import Known
from proa.node.probes.prober import Target
from proa.node.runtimes.protocol import Container, ContainerConfig, RuntimeFailure
from proa.node.sandbox_config import hostname_of, log_directory, make_sandbox_config
from proa.node.status import pod_description, pod_status
from proa.node.termination import make_message_file, read_message
from proa.node.unsupported import unsupported_fields
from proa.node.volumes.errors import VolumeError
from proa.node.volumes.mounter import MountedVolumes, make_mounts
from proa.node.volumes.payloads import sources_of
from proa.objects.errors import ApiError, Conflict, NotFound
from proa.objects.meta import is_deleting, name, namespace, uid
from proa.objects.resource import PODS

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.5
MAX_VOLUME_RETRY_SECONDS = 122.0
MAX_RETRY_SECONDS = 30.0
MIN_GRACE_SECONDS = 2.0


class PodWorker:
    """One pod's worker. `on_gone` is called once nothing of the pod is left on this node.

    `is_known` is False for a pod that the API does not know (any more): it is only cleaned up.
    """

    def __init__(
        self, node: NodeServices, pod: Object, on_gone: Callable[[str], None], *, is_known: bool = True
    ) -> None:
        self.pod = pod
        self.uid = uid(pod)
        self._node = node
        self._on_gone = on_gone
        self._is_known = is_known
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
        self._failures: dict[str, StartFailure] = {}
        self._backoffs = remembered_backoffs(pod, node)
        self._told_backoffs: set[str] = set()
        self._messages: dict[str, str] = {}
        self._killing: dict[str, asyncio.Task[None]] = {}
        self._hooks: dict[str, asyncio.Task[None]] = {}
        self._beside: set[asyncio.Task[None]] = set()

    # What the kubelet calls

    def update(self, pod: Object) -> None:
        """Take in the pod as the API has it now."""
        shorter = _shorter_grace(self.pod, pod)
        self.pod = pod
        if shorter is not None:
            for container_id in self._killing:
                self._run_beside(self._node.runtime.stop_container(container_id, shorter))
        self.wake()

    def vanish(self) -> None:
        """The API does not know the pod any more: kill and forget it."""
        self._is_known = False
        if not is_deleting(self.pod):
            grace = self._node.settings.orphan_grace_seconds
            self.pod = mark_deleting(self.pod, grace)
        self.wake()

    def end(self, reason: str, message: str) -> None:
        """End the pod for good: phase Failed with this reason."""
        self._ended = self._ended or Ended(reason, message)
        self.wake()

    def refresh_volumes(self) -> None:
        """Something that the pod's volumes show has changed."""
        self._must_refresh = True
        for failed in [n for n, f in self._failures.items() if f.reason == "CreateContainerConfigError"]:
            del self._failures[failed]
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
        tasks = [t for t in (self._task, *self._killing.values(), *self._hooks.values(), *self._beside) if t]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Return when there is nothing to do now but wait."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def view(self) -> PodView:
        """Return all that is known of the pod now."""
        node = self._node
        containers = tuple(self._with_message(c) for c in node.cache.containers(self.uid))
        sandboxes = node.cache.sandboxes(self.uid)
        return PodView(
            pod=self.pod,
            sandbox=sandboxes[0] if sandboxes else None,
            containers=containers,
            volumes_ready=self._mounted is not None,
            volumes_retry_at=self._volumes_retry_at,
            sandbox_retry_at=self._sandbox_retry_at,
            killing=frozenset(self._killing),
            hooks_pending=frozenset(self._hooks),
            health=self._health(containers),
            failures=dict(self._failures),
            backoffs=dict(self._backoffs),
            ended=self._ended,
            host_ip=node.machine.ip,
            started_at=self._first_seen,
        )

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
        now = self._node.now()
        await self._refresh_if_due(now)
        view = self.view()
        self._check_deadline(view, now)
        view = self.view() if self._ended else view
        self._watch_probes(view)
        decision = lifecycle.decide(view, now)
        self._tell_backoffs(view, now)
        if self._is_known and not self._is_gone:
            self._node.statuses.put(self.pod, pod_status(self.view(), now))
        if not decision.steps:
            refresh_at = self._mounted.refresh_at if self._mounted else inf
            self._set_timer(min(decision.wake_at, refresh_at))
            return
        for step in decision.steps:
            await self._perform(step)
        self._is_dirty = True

    def _check_deadline(self, view: PodView, now: float) -> None:
        if self._ended or is_deleting(self.pod) or lifecycle.is_finished(view):
            return
        self._ended = lifecycle.past_deadline(view, now)
        if self._ended:
            self._event("Normal", self._ended.reason, self._ended.message)

    def _tell_backoffs(self, view: PodView, now: float) -> None:
        """Record one BackOff event for each wait."""
        for container_name in self._backoffs:
            newest = view.newest(container_name)
            if newest is None or newest.id in self._told_backoffs or is_deleting(self.pod):
                continue
            if lifecycle.crash_loop(view, container_name, now):
                self._told_backoffs.add(newest.id)
                place = f"container {container_name} in pod {pod_description(self.pod)}"
                self._event("Warning", "BackOff", f"Back-off restarting failed {place}", container_name)

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

    async def _perform(self, step: lifecycle.Step) -> None:
        match step:
            case lifecycle.MountVolumes():
                await self._mount()
            case lifecycle.MakeSandbox():
                await self._make_sandbox(step.attempt)
            case lifecycle.StartContainer():
                await self._start(step)
            case lifecycle.KillContainer():
                self._begin_kill(step)
            case lifecycle.RemoveContainer():
                await self._remove_container(step.container_id)
            case lifecycle.StopSandbox():
                await self._stop_sandbox(step.sandbox_id)
            case lifecycle.UnmountVolumes():
                self._mounted = None
                self._node.sources.unfollow(self.uid)
                await self._node.mounter.unmount(self.uid)
            case lifecycle.Finish():
                await self._finish()

    async def _mount(self) -> None:
        node = self._node
        keys = sources_of(self.pod)
        node.sources.follow(self.uid, keys)
        try:
            self._mounted = await node.mounter.mount(self.pod, self._downward())
        except VolumeError as error:
            now = node.now()
            backoff = next_backoff(self._volumes_backoff, now, FIRST_RETRY_SECONDS, MAX_VOLUME_RETRY_SECONDS)
            self._volumes_backoff = backoff
            self._volumes_retry_at = now + backoff.delay_seconds
            self._event("Warning", "FailedMount", str(error))
            return
        self._volumes_backoff = None

    async def _refresh_if_due(self, now: float) -> None:
        """Build anew what volumes show; a failure leaves the old files and is tried again."""
        if self._mounted is None or not (self._must_refresh or self._mounted.refresh_at <= now):
            return
        self._must_refresh = False
        try:
            self._mounted = await self._node.mounter.refresh(self.pod, self._downward())
        except VolumeError as error:
            self._event("Warning", "FailedMount", str(error))
            self._mounted.refresh_at = now + self._node.settings.retry_seconds

    async def _make_sandbox(self, attempt: int) -> None:
        node = self._node
        config = make_sandbox_config(self.pod, node.settings, attempt)
        ignored = unsupported_fields(self.pod) if not attempt else []
        if ignored:
            self._event("Warning", "NotSupported", f"This node does not carry out {', '.join(ignored)}")
        log_directory(self.pod, node.settings.logs_directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        async with node.start_slots:
            try:
                sandbox = await node.runtime.run_sandbox(config)
            except RuntimeFailure as failure:
                self._sandbox_retry_at = node.now() + node.settings.retry_seconds
                message = f"Failed to create pod sandbox: {failure.message}"
                self._event("Warning", "FailedCreatePodSandBox", message)
                return
        for old in node.cache.sandboxes(self.uid)[1:]:
            await node.runtime.remove_sandbox(old.id)
            node.cache.drop_sandbox(old.id)
        if attempt:
            self._event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        node.cache.put_sandbox(sandbox)

    async def _start(self, step: lifecycle.StartContainer) -> None:
        node, container = self._node, self._container(step.name)
        if step.is_restart:
            settings = node.settings
            self._backoffs[step.name] = next_backoff(
                self._backoffs.get(step.name),
                node.now(),
                settings.backoff_initial_seconds,
                settings.backoff_max_seconds,
            )
        try:
            container_id = await self._create_and_start(container, step.attempt)
        except ImageFailure as failure:
            self._tell_image(failure.events, step.name)
            self._event("Warning", "Failed", f"Error: {failure.reason}", step.name)
            self._failures[step.name] = StartFailure(failure.reason, failure.message, failure.retry_at)
            return
        except (ConfigError, VolumeError, FieldError) as error:
            self._fail_start(step.name, "CreateContainerConfigError", str(error))
            return
        except RuntimeFailure as failure:
            self._fail_start(step.name, failure.reason, failure.message)
            return
        self._failures.pop(step.name, None)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            self._hooks[container_id] = asyncio.create_task(self._post_start(container_id, container, hook))

    async def _create_and_start(self, container: Object, attempt: int) -> str:
        node = self._node
        found = await node.images.find(self.pod, container, node.now())
        self._tell_image(found.events, container["name"])
        environment = await make_environment(
            self.pod, container, node.services(), node.sources.get, self._downward()
        )
        for source, keys in environment.skipped.items():
            message = (
                f"Keys [{', '.join(keys)}] from the EnvFrom {source} were skipped since they are considered "
            )
            self._event(
                "Warning", "InvalidEnvironmentVariableNames", f"{message}invalid environment variable names."
            )
        if container.get("startupProbe") or container.get("livenessProbe") or container.get("readinessProbe"):
            _refuse_grpc(container)
        mounted = self._mounted or MountedVolumes()
        config = make_container_config(
            self.pod,
            container,
            found.image,
            environment.variables,
            make_mounts(container, mounted, environment.variables),
            attempt=attempt,
            hostname=hostname_of(self.pod, node.settings.node_name),
            pods_directory=node.settings.pods_directory,
            logs=log_directory(self.pod, node.settings.logs_directory),
            memory_capacity_bytes=node.machine.memory_bytes,
        )
        make_message_file(config.termination_message_file)
        self._tell_mounts(config)
        async with node.start_slots:
            sandbox = node.cache.sandboxes(self.uid)[0]
            container_id = await node.runtime.create_container(sandbox.id, config)
            self._event("Normal", "Created", "Container created", container["name"])
            try:
                await node.runtime.start_container(container_id)
            finally:
                await node.cache.refresh_container(container_id)
        self._event("Normal", "Started", "Container started", container["name"])
        return container_id

    def _tell_mounts(self, config: ContainerConfig) -> None:
        """Say it where volumes are not at their mountPath: the runtime has no mounts of its own."""
        why = self._node.machine.features.get("mounts")
        if why and config.mounts and not config.attempt:
            paths = ", ".join(mount.container_path for mount in config.mounts)
            message = f"Volumes are not at {paths} but where $PROA_MOUNTS says: {why}"
            self._event("Warning", "VolumesNotMounted", message, config.name)

    def _fail_start(self, container_name: str, reason: str, message: str) -> None:
        self._event("Warning", "Failed", f"Error: {message}", container_name)
        retry_at = self._node.now() + self._node.settings.retry_seconds
        self._failures[container_name] = StartFailure(reason, message, retry_at)

    async def _post_start(self, container_id: str, container: Object, hook: Object) -> None:
        try:
            await run_hook(self._node.runtime, container_id, container, hook, self._pod_ip(), None)
        except (HookFailed, RuntimeFailure) as error:
            self._event("Warning", "FailedPostStartHook", "PostStartHook failed", container["name"])
            logger.info("postStart hook failed pod=%s error=%s", pod_description(self.pod), error)
            grace = lifecycle.grace_seconds(self.pod)
            self._begin_kill(
                lifecycle.KillContainer(container_id, container["name"], grace, "FailedPostStartHook")
            )
        finally:
            self._hooks.pop(container_id, None)
        self.wake()

    def _begin_kill(self, step: lifecycle.KillContainer) -> None:
        if step.container_id in self._killing:
            return
        self._event("Normal", "Killing", step.message, step.name)
        hook = self._hooks.get(step.container_id)
        if hook is not None and hook is not asyncio.current_task():
            hook.cancel()
        self._killing[step.container_id] = asyncio.create_task(self._kill(step), name=f"kill {step.name}")

    async def _kill(self, step: lifecycle.KillContainer) -> None:
        node = self._node
        try:
            begun = node.now()
            container = self._find_container(step.name)
            hook = ((container or {}).get("lifecycle") or {}).get("preStop")
            if container and hook and step.grace_seconds > 0:
                await self._pre_stop(step, container, hook)
            left = step.grace_seconds - (node.now() - begun)
            grace = max(left, MIN_GRACE_SECONDS) if hook else max(left, 0.0)
            await node.runtime.stop_container(step.container_id, grace)
            await node.cache.refresh_container(step.container_id)
        except RuntimeFailure as failure:
            logger.warning("container not killed container=%s error=%s", step.container_id, failure.message)
            await asyncio.sleep(1.0)
        finally:
            self._killing.pop(step.container_id, None)
        self.wake()

    async def _pre_stop(self, step: lifecycle.KillContainer, container: Object, hook: Object) -> None:
        try:
            await run_hook(
                self._node.runtime, step.container_id, container, hook, self._pod_ip(), step.grace_seconds
            )
        except TimeoutError:
            logger.info("preStop hook took all of the grace pod=%s", pod_description(self.pod))
        except (HookFailed, RuntimeFailure) as error:
            self._event("Warning", "FailedPreStopHook", "PreStopHook failed", step.name)
            logger.info("preStop hook failed pod=%s error=%s", pod_description(self.pod), error)

    async def _remove_container(self, container_id: str) -> None:
        container = self._node.cache.find_container(container_id)
        await self._node.runtime.remove_container(container_id)
        self._node.cache.drop_container(container_id)
        self._messages.pop(container_id, None)
        if container is not None and container.state == "Exited":
            logs = log_directory(self.pod, self._node.settings.logs_directory) / container.config.name
            for file in logs.glob(f"{container.config.attempt}.log*"):
                file.unlink(missing_ok=True)

    async def _stop_sandbox(self, sandbox_id: str) -> None:
        await self._node.runtime.stop_sandbox(sandbox_id)
        for sandbox in self._node.cache.sandboxes(self.uid):
            if sandbox.id == sandbox_id:
                self._node.cache.put_sandbox(replace(sandbox, state="NotReady"))

    async def _finish(self) -> None:
        """Leave nothing of the pod on this node, then let the API forget it."""
        node = self._node
        if self._is_known:
            node.statuses.put(self.pod, pod_status(self.view(), node.now()))
            await node.statuses.flush(self.uid)
        node.sources.unfollow(self.uid)
        for sandbox in node.cache.sandboxes(self.uid):
            await node.runtime.remove_sandbox(sandbox.id)
            node.cache.drop_sandbox(sandbox.id)
        await node.mounter.forget(self.uid)
        logs = log_directory(self.pod, node.settings.logs_directory)
        await asyncio.to_thread(shutil.rmtree, logs, True)
        if self._is_known:
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
            container = self._find_container(running_container.config.name)
            if container is not None and self._pod_ip():
                probes.watch(
                    self.pod,
                    Target(container_id, container, self._pod_ip()),
                    running_container.started_at,
                    self.wake,
                    self._field_path(container["name"]),
                    self._known_as(container["name"], container_id),
                )
        for known in view.containers:
            if known.id not in running:
                probes.forget(known.id)

    def _known_as(self, container_name: str, container_id: str) -> Known:
        status = self.pod.get("status") or {}
        for known in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
            if known["name"] == container_name and known.get("containerID", "").endswith(container_id):
                return Known(bool(known.get("started")), bool(known.get("ready")))
        return Known()

    def _health(self, containers: tuple[Container, ...]) -> dict[str, Health]:
        found: dict[str, Health] = {}
        for running in containers:
            container = self._find_container(running.config.name)
            if running.state == "Running" and container is not None:
                found[running.id] = self._node.probes.health(running.id, container)
        return found

    def _with_message(self, container: Container) -> Container:
        """Return the container with what it left as its last words."""
        if container.state != "Exited" or container.message:
            return container
        if container.id not in self._messages:
            spec = self._find_container(container.config.name) or {}
            self._messages[container.id] = read_message(container, spec)
        message = self._messages[container.id]
        return replace(container, message=message) if message else container

    def _container(self, container_name: str) -> Object:
        found = self._find_container(container_name)
        if found is None:
            raise KeyError(container_name)
        return found

    def _find_container(self, container_name: str) -> Object | None:
        spec = self.pod["spec"]
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
            if container["name"] == container_name:
                found: Object = container
                return found
        return None

    def _field_path(self, container_name: str) -> str:
        inits = {c["name"] for c in self.pod["spec"].get("initContainers") or []}
        return f"spec.{'initContainers' if container_name in inits else 'containers'}{{{container_name}}}"

    def _pod_ip(self) -> str:
        sandboxes = self._node.cache.sandboxes(self.uid)
        if not sandboxes:
            return ""
        return self._node.machine.ip if sandboxes[0].config.host_network else sandboxes[0].ip

    def _downward(self) -> DownwardSource:
        machine = self._node.machine
        return DownwardSource(machine.ip, self._pod_ip(), machine.allocatable)

    def _tell_image(self, events: tuple[ImageEvent, ...], container_name: str) -> None:
        for event in events:
            self._event(event.type, event.reason, event.message, container_name)

    def _event(self, type: str, reason: str, message: str, container_name: str = "") -> None:
        if self._is_known:
            field_path = self._field_path(container_name) if container_name else ""
            self._node.events.event(self.pod, type, reason, message, field_path)

    def _run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._logged(work))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RuntimeFailure as failure:
            logger.warning("runtime refused pod=%s error=%s", pod_description(self.pod), failure.message)


def remembered_backoffs(pod: Object, node: NodeServices) -> dict[str, BackOff]:
    """Return the back-offs that containers were in before this server began, as their restarts tell."""
    found: dict[str, BackOff] = {}
    for container in reversed(node.cache.containers(uid(pod))):
        attempt, settings = container.config.attempt, node.settings
        if attempt:
            delay = min(
                settings.backoff_initial_seconds * 2.0 ** min(attempt - 1, 10), settings.backoff_max_seconds
            )
            found[container.config.name] = BackOff(delay, container.created_at)
    return found


def mark_deleting(pod: Object, grace_seconds: float) -> Object:
    """Return a copy of the pod that is being deleted."""
    metadata = {
        **pod["metadata"],
        "deletionTimestamp": "1970-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": int(grace_seconds),
    }
    return {**pod, "metadata": metadata}


def _shorter_grace(old: Object, new: Object) -> float | None:
    """Return the new grace when a deletion that is under way got less time."""
    before = old["metadata"].get("deletionGracePeriodSeconds")
    after = new["metadata"].get("deletionGracePeriodSeconds")
    return float(after) if before is not None and after is not None and after < before else None


def _refuse_grpc(container: Object) -> None:
    for key in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "grpc" in (container.get(key) or {}):
            raise ConfigError(
                f"{key}: gRPC probes are not supported by this node yet: use httpGet, tcpSocket or exec"
            )
