"""Start, kill and remove the containers of one pod, with their images, environment, mounts and hooks.

Killing and hooks take long: they run as tasks beside the worker, which is woken when one ends. Follows
pkg/kubelet/kuberuntime/kuberuntime_container.go (startContainer, killContainer).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from proa.client.protocol import Object
from proa.node import pod_ending as ending
from proa.node import pod_steps as steps
from proa.node.backoff import BackOff, next_backoff
from proa.node.container_config import make_container_config
from proa.node.container_status import pod_description
from proa.node.downward import FieldError
from proa.node.environment import ConfigError, make_environment
from proa.node.gpus import make_device_mounts, make_variables
from proa.node.hooks import HookFailed, run_hook
from proa.node.images.manager import FoundImage, ImageEvent, ImageFailure, Pulling, Request
from proa.node.node_services import NodeServices
from proa.node.pod_handle import PodHandle
from proa.node.pod_view import StartFailure
from proa.node.resize import resources_label
from proa.node.resources import container_resources, most_of, pod_resources
from proa.node.runtime_cache import RESOURCES_LABEL, STORED_IMAGES_LABEL
from proa.node.runtimes.protocol import ContainerConfig, Resources, RuntimeFailure, Sandbox
from proa.node.sandbox_config import hostname_of, log_directory
from proa.node.seccomp_profiles import find_profile
from proa.node.termination import make_message_file
from proa.node.volumes.errors import VolumeError
from proa.node.volumes.images import image_volumes
from proa.node.volumes.mounter import MountedVolumes, make_mounts, make_volume_devices
from proa.objects.meta import uid

logger = logging.getLogger(__name__)

MIN_GRACE_SECONDS = 2.0
"""The least that a container has to end after its stop signal, whatever hooks and others have taken."""
KILL_RETRY_SECONDS = 1.0


class PodContainers:
    """One pod's containers. `mounted` returns the pod's volumes; `wake` makes its worker look again.

    `failures` and `backoffs` are by container name; `killing` and `hooks` (postStart) by container id.
    """

    def __init__(
        self, pod: PodHandle, mounted: Callable[[], MountedVolumes | None], wake: Callable[[], None]
    ) -> None:
        self._pod = pod
        self._node = pod.node
        self._mounted = mounted
        self._wake = wake
        self.failures: dict[str, StartFailure] = {}
        self.backoffs = remembered_backoffs(pod.pod, pod.node)
        self.killing: dict[str, asyncio.Task[None]] = {}
        self.hooks: dict[str, asyncio.Task[None]] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._pulls: dict[str, Request] = {}
        self._images: dict[str, dict[str, FoundImage]] = {}
        """What has been found so far for containers some of whose images are still on their way."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Return all that runs beside the worker."""
        return [*self.killing.values(), *self.hooks.values(), *self._beside]

    @property
    def pulling(self) -> frozenset[str]:
        """Return the names of containers that wait for an image that is on its way."""
        images = self._node.images
        return frozenset(name for name, request in self._pulls.items() if images.is_pulling(request))

    def retry_configuration(self) -> None:
        """Something that containers are configured by has changed."""
        for failed in [n for n, f in self.failures.items() if f.reason == "CreateContainerConfigError"]:
            del self.failures[failed]

    def shorten_grace(self, grace_seconds: float) -> None:
        """Give what is being killed less time."""
        for container_id in self.killing:
            task = asyncio.create_task(self._stop(container_id, grace_seconds))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)

    async def start(self, step: steps.StartContainer) -> None:
        container = self._pod.container_to_start(step.name)
        try:
            images = await self._find_images(container)
        except Pulling as pulling:
            self._pulls[step.name] = pulling.request
            self._tell_image(pulling.events, step.name)
            return
        except ImageFailure as failure:
            self._raise_backoff(step)
            self._tell_image(failure.events, step.name)
            self._pod.event("Warning", "Failed", f"Error: {failure.reason}", step.name)
            self.failures[step.name] = StartFailure(failure.reason, failure.message, failure.retry_at)
            return
        self._raise_backoff(step)
        try:
            container_id = await self._create_and_start(container, step.attempt, images)
        except (ConfigError, VolumeError, FieldError) as error:
            self._fail_start(step.name, "CreateContainerConfigError", str(error))
            return
        except RuntimeFailure as failure:
            self._fail_start(step.name, failure.reason, failure.message)
            return
        self.failures.pop(step.name, None)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            self.hooks[container_id] = asyncio.create_task(self._post_start(container_id, container, hook))

    def _raise_backoff(self, step: steps.StartContainer) -> None:
        """Let the next restart wait for longer."""
        if step.is_restart:
            settings = self._node.settings
            self.backoffs[step.name] = next_backoff(
                self.backoffs.get(step.name),
                self._node.now(),
                settings.backoff_initial_seconds,
                settings.backoff_max_seconds,
            )

    async def _find_images(self, container: Object) -> dict[str, FoundImage]:
        """Return the container's image ("") and those of the volumes that it mounts, by their names.

        Raises ImageFailure, or Pulling when one is on its way.
        """
        pod, name = self._pod.pod, container["name"]
        wanted = {
            volume: Request(pod, f"{name}/{volume}", source["reference"], source.get("pullPolicy") or "")
            for volume, source in image_volumes(pod, container).items()
        }
        wanted[""] = Request(pod, name, container["image"], container.get("imagePullPolicy") or "")
        found = self._images.pop(name, {})
        for key, request in wanted.items():
            if key not in found or found[key].wanted != request.image:
                try:
                    found[key] = await self._node.images.find(request)
                except Pulling:
                    self._images[name] = found
                    raise
                self._tell_image(found[key].events, name)
        return found

    async def _create_and_start(self, container: Object, attempt: int, images: dict[str, FoundImage]) -> str:
        node = self._node
        volumes = self._mounted() or MountedVolumes()
        environment = await make_environment(
            self._pod.pod,
            container,
            node.services(),
            node.sources.get,
            self._pod.downward(),
            volumes.paths,
        )
        for source, keys in environment.skipped.items():
            message = (
                f"Keys [{', '.join(keys)}] from the EnvFrom {source} were skipped since they are considered "
            )
            self._pod.event(
                "Warning", "InvalidEnvironmentVariableNames", f"{message}invalid environment variable names."
            )
        mounted = replace(volumes, images={n: f.image.layers for n, f in images.items() if n})
        given = node.devices.given(uid(self._pod.pod), container["name"])
        gpus = [gpu for found in given.values() for gpu in found]
        config = make_container_config(
            self._pod.pod,
            container,
            images[""].image,
            {**make_variables(given), **environment.variables},
            [
                *make_mounts(container, mounted, environment.variables),
                *make_volume_devices(container, mounted),
                *make_device_mounts(gpus),
            ],
            attempt=attempt,
            hostname=hostname_of(self._pod.pod, node.settings.node_name),
            pods_directory=node.settings.pods_directory,
            logs=log_directory(self._pod.pod, node.settings.logs_directory),
            memory_capacity_bytes=node.machine.memory_bytes,
            profile=find_profile(self._pod.pod, container, node.settings.seccomp_directory),
            pid_namespace_of=self._target_of(container),
        )
        label = node.devices.label(uid(self._pod.pod), config.name)
        stored = ",".join(sorted({f.image.id for f in images.values() if f.image.id}))
        label = {**label, **({STORED_IMAGES_LABEL: stored} if stored else {})}
        config = replace(
            config,
            labels={**config.labels, **label},
            log_max_bytes=node.settings.container_log_max_bytes,
            log_max_files=node.settings.container_log_max_files,
        )
        make_message_file(config.termination_message_file)
        self._tell_mounts(config)
        async with node.start_slots:
            sandbox = node.cache.sandboxes(self._pod.uid)[0]
            container_id = await node.runtime.create_container(sandbox.id, config)
            self._pod.event("Normal", "Created", "Container created", container["name"])
            try:
                await node.runtime.start_container(container_id)
            finally:
                await node.cache.refresh_container(container_id)
        self._pod.event("Normal", "Started", "Container started", container["name"])
        return container_id

    def _target_of(self, container: Object) -> str:
        """Return the id of the container whose processes an ephemeral one is to be among, "" for none."""
        target = container.get("targetContainerName")
        if not target:
            return ""
        for known in self._node.cache.containers(self._pod.uid):
            if known.config.name == target and known.state != "Created":
                return known.id
        raise ConfigError(f"unable to find target container {target}")

    def _tell_mounts(self, config: ContainerConfig) -> None:
        """Say it where volumes are not at their mountPath: the runtime has no mounts of its own."""
        why = self._node.machine.features.get("mounts")
        paths = ", ".join(mount.container_path for mount in config.mounts if not mount.is_device)
        if why and paths and not config.attempt:
            message = f"Volumes are not at {paths} but where $PROA_MOUNTS says: {why}"
            self._pod.event("Warning", "VolumesNotMounted", message, config.name)

    def _fail_start(self, container_name: str, reason: str, message: str) -> None:
        self._pod.event("Warning", "Failed", f"Error: {message}", container_name)
        retry_at = self._node.now() + self._node.settings.retry_seconds
        self.failures[container_name] = StartFailure(reason, message, retry_at)

    async def _post_start(self, container_id: str, container: Object, hook: Object) -> None:
        try:
            await run_hook(self._node.runtime, container_id, container, hook, self._pod.pod_ip(), None)
        except (HookFailed, RuntimeFailure) as error:
            self._pod.event("Warning", "FailedPostStartHook", "PostStartHook failed", container["name"])
            logger.info("postStart hook failed pod=%s error=%s", pod_description(self._pod.pod), error)
            grace = ending.grace_seconds(self._pod.pod)
            self.begin_kill(
                steps.KillContainer(container_id, container["name"], grace, "FailedPostStartHook")
            )
        finally:
            self.hooks.pop(container_id, None)
        self._wake()

    async def resize(self, step: steps.ResizeContainer | steps.ResizePod) -> None:
        """Change what a running container, or the whole pod, has; raise RuntimeFailure."""
        node = self._node
        if isinstance(step, steps.ResizePod):
            await self._limit_pod(node.cache.sandboxes(self._pod.uid)[0], pod_resources(self._pod.pod))
            return
        container = {**self._pod.container(step.name), "resources": step.resources}
        resources = container_resources(self._pod.pod, container, node.machine.memory_bytes)
        of_pod = pod_resources(self._pod.resized(step.name, step.resources))
        sandbox = node.cache.sandboxes(self._pod.uid)[0]
        await self._limit_pod(
            sandbox, most_of(sandbox.config.resources, of_pod)
        )  # what is inside may not have more
        labels = {RESOURCES_LABEL: resources_label(step.resources)}
        await node.runtime.update_container(step.container_id, resources, labels)
        await node.cache.refresh_container(step.container_id)
        await self._limit_pod(sandbox, of_pod)

    async def _limit_pod(self, sandbox: Sandbox, resources: Resources) -> None:
        if resources != sandbox.config.resources:
            await self._node.runtime.update_sandbox(sandbox.id, resources)
            config = replace(sandbox.config, resources=resources)
            self._node.cache.put_sandbox(replace(sandbox, config=config))

    def begin_kill(self, step: steps.KillContainer) -> None:
        if step.container_id in self.killing:
            return
        self._pod.event("Normal", "Killing", step.message, step.name)
        hook = self.hooks.get(step.container_id)
        if hook is not None and hook is not asyncio.current_task():
            hook.cancel()
        self.killing[step.container_id] = asyncio.create_task(self._kill(step), name=f"kill {step.name}")

    async def _kill(self, step: steps.KillContainer) -> None:
        node = self._node
        try:
            begun = node.now()
            container = self._pod.find_container(step.name)
            hook = ((container or {}).get("lifecycle") or {}).get("preStop")
            if container and hook and step.grace_seconds > 0:
                await self._pre_stop(step, container, hook)
            await self._wait_for_turn(step, step.grace_seconds - (node.now() - begun))
            left = step.grace_seconds - (node.now() - begun)
            await node.runtime.stop_container(step.container_id, max(left, MIN_GRACE_SECONDS))
            await node.cache.refresh_container(step.container_id)
        except RuntimeFailure as failure:
            logger.warning("container not killed container=%s error=%s", step.container_id, failure.message)
            await asyncio.sleep(KILL_RETRY_SECONDS)  # the worker asks for it again once it is woken
        finally:
            self.killing.pop(step.container_id, None)
        self._wake()

    async def _wait_for_turn(self, step: steps.KillContainer, seconds: float) -> None:
        """Return once the containers that are to end before this one have, or the time is up."""
        if step.after and seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.gather(*(self._node.cache.wait_exited(each) for each in step.after))

    async def kill_all(self, kills: Iterable[steps.KillContainer]) -> None:
        """Kill containers, and return when they have ended."""
        for step in kills:
            self.begin_kill(step)
        await asyncio.gather(*self.killing.values())

    async def _pre_stop(self, step: steps.KillContainer, container: Object, hook: Object) -> None:
        try:
            await run_hook(
                self._node.runtime, step.container_id, container, hook, self._pod.pod_ip(), step.grace_seconds
            )
        except TimeoutError:
            logger.info("preStop hook took all of the grace pod=%s", pod_description(self._pod.pod))
        except (HookFailed, RuntimeFailure) as error:
            self._pod.event("Warning", "FailedPreStopHook", "PreStopHook failed", step.name)
            logger.info("preStop hook failed pod=%s error=%s", pod_description(self._pod.pod), error)

    async def remove(self, container_id: str) -> None:
        container = self._node.cache.find_container(container_id)
        await self._node.runtime.remove_container(container_id)
        self._node.cache.drop_container(container_id)
        if container is not None and container.state == "Exited":
            logs = log_directory(self._pod.pod, self._node.settings.logs_directory) / container.config.name
            for file in logs.glob(f"{container.config.attempt}.log*"):
                file.unlink(missing_ok=True)

    def _tell_image(self, events: tuple[ImageEvent, ...], container_name: str) -> None:
        for event in events:
            self._pod.event(event.type, event.reason, event.message, container_name)

    async def _stop(self, container_id: str, grace_seconds: float) -> None:
        try:
            await self._node.runtime.stop_container(container_id, grace_seconds)
        except RuntimeFailure as failure:
            logger.warning("runtime refused pod=%s error=%s", pod_description(self._pod.pod), failure.message)


def remembered_backoffs(pod: Object, node: NodeServices) -> dict[str, BackOff]:
    """Return the back-offs that containers were in before this server began, as their restarts tell.

    Containers whose sandbox ended (`proa down`, a reboot) have not crashed, and begin anew.
    """
    found: dict[str, BackOff] = {}
    if not any(sandbox.state == "Ready" for sandbox in node.cache.sandboxes(uid(pod))):
        return found
    for container in reversed(node.cache.containers(uid(pod))):
        attempt, settings = container.config.attempt, node.settings
        if attempt:
            delay = min(
                settings.backoff_initial_seconds * 2.0 ** min(attempt - 1, 10), settings.backoff_max_seconds
            )
            found[container.config.name] = BackOff(delay, container.created_at, settings.backoff_max_seconds)
    return found
