"""Run the pods that the API binds to this node, and tell the API what became of them.

Watches the node's pods and all Services; asks a container runtime (noded) for everything else. Each pod has a
worker; runtime events, API changes and timers wake it, nothing polls. At start, what the runtime holds is
matched with what the API wants, so that pods live through a restart of the server. Follows
pkg/kubelet/kubelet.go.
"""

from __future__ import annotations

import asyncio
import logging
import random as default_random
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from proa.client.protocol import Client, Object
from proa.images.store import ImageStore
from proa.node.admission import Admission
from proa.node.device_manager import DeviceManager
from proa.node.eviction.manager import EvictionManager, observe_machine
from proa.node.gpus import find_gpus
from proa.node.images.aliases import ALIASES
from proa.node.images.collector import ImageCollector, Thresholds
from proa.node.images.manager import ImageManager
from proa.node.images.pull_secrets import PullSecrets
from proa.node.images.puller import Puller
from proa.node.images.usage import ImageUsage
from proa.node.node_registration import NodeRegistration
from proa.node.node_services import Machine, NodeServices, Protect, unprotected
from proa.node.node_status import make_capacity, read_machine
from proa.node.pod_ending import grace_seconds
from proa.node.pod_worker import PodWorker, mark_deleting
from proa.node.probes.manager import ProbeManager
from proa.node.runtime_cache import POD_NAME_LABEL, POD_NAMESPACE_LABEL, RuntimeCache
from proa.node.runtimes.protocol import Runtime, RuntimeEvent, RuntimeFailure
from proa.node.server import KubeletServer
from proa.node.settings import KubeletSettings
from proa.node.sources import ObjectSources
from proa.node.static_pods import Place, StaticPods, static_uid, translate
from proa.node.status_writer import StatusWriter
from proa.node.tokens import TokenSource
from proa.node.usage import UsageReader, read_machine_usage
from proa.node.volumes.mounter import VolumeMounter
from proa.objects.errors import ApiError
from proa.objects.meta import is_deleting, name, namespace, uid
from proa.objects.pods import is_terminated
from proa.objects.resource import PODS, SERVICES
from proa.reconcile.clock_jumps import watch_clock
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5


class Kubelet:
    """One node's kubelet. `server` answers logs, exec, attach and port-forward.

    `informers` may be shared; those that the kubelet needs are added to it. `now` returns seconds since the
    epoch, `random` a number in [0, 1). `protect` returns once the network is ready for a pod with these addresses.
    """

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        informers: InformerFactory,
        events: EventRecorder,
        settings: KubeletSettings,
        *,
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = default_random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        protect: Protect = unprotected,
    ) -> None:
        self.settings = settings
        self._client = client
        self._runtime = runtime
        self._sleep = sleep
        self._pods = informers.informer(PODS, field_selector=f"spec.nodeName={settings.node_name}")
        self._services = informers.informer(SERVICES)
        self._informers = informers
        self._workers: dict[str, PodWorker] = {}
        self._finished: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        folders = (settings.pods_directory, settings.logs_directory, settings.manifests_directory)
        for directory in folders:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        gpus = find_gpus(settings.devices_directory) if settings.devices_directory else {}
        offered = {resource: len(found) for resource, found in gpus.items()}
        info = replace(read_machine(settings.directory), devices=offered)
        cache = RuntimeCache(runtime)
        sources = ObjectSources(client, self._source_changed)
        self._tokens = TokenSource(client, now)
        self.static_pods = StaticPods(
            client,
            settings.manifests_directory,
            node=lambda: self._registration.node,
            pods=self._pods.list,
            running=self._running_places,
            start=self._start_static,
            end=self._end_static,
            now=now,
            sleep=sleep,
        )
        images = self._make_images(runtime, cache, sources, events, now)
        self._registration = NodeRegistration(
            client, runtime, settings, info, events, now, sleep, images=images.status
        )
        self._node = NodeServices(
            settings=settings,
            client=client,
            runtime=runtime,
            cache=cache,
            events=events,
            now=now,
            images=images,
            mounter=VolumeMounter(
                settings.pods_directory,
                sources.get,
                self._tokens.request,
                self._mount_memory,
                info.memory_bytes,
            ),
            sources=sources,
            statuses=StatusWriter(client, self._pods.wrote, self.static_pods.find_mirror, sleep),
            probes=ProbeManager(runtime, events, now, random, sleep),
            services=self._services.list,
            pods=self._list_pods,
            machine=Machine("", info.memory_bytes, make_capacity(info, settings.max_pods)),
            devices=DeviceManager(gpus, self._may_use_devices),
            admission=Admission(
                self._list_pods,
                lambda: self._registration.node,
                self._registration.look,
                self._pressures,
                self._preempt,
            ),
            protect=protect,
            start_slots=asyncio.Semaphore(settings.starts_at_once),
        )
        self.eviction: EvictionManager = EvictionManager(
            settings,
            runtime,
            cache,
            self._list_pods,
            settings.eviction_hard,
            now=now,
            end=self._evict,
            tell=self._registration.tell_pressures,
            attempts=self._tell_attempt,
            observe=lambda: observe_machine(settings.directory, read_machine_usage(now()).available_bytes),
            reclaim=self._reclaim_disk,
        )
        self.server = KubeletServer(
            runtime, cache, self._pods, now, UsageReader(settings.node_name, runtime, cache, now)
        )

    def _make_images(
        self,
        runtime: Runtime,
        cache: RuntimeCache,
        sources: ObjectSources,
        events: EventRecorder,
        now: Callable[[], float],
    ) -> ImageManager:
        settings = self.settings
        aliases = ALIASES if settings.image_aliases is None else settings.image_aliases
        backoff = (settings.backoff_initial_seconds, settings.backoff_max_seconds)
        self._collector: ImageCollector | None = None
        if settings.images_directory is None:
            return ImageManager(runtime, aliases, *backoff, now=now)
        store = ImageStore(settings.images_directory)
        usage = ImageUsage(store, settings.node_name, cache.all_containers, now)
        self._collector = ImageCollector(
            store,
            usage.used,
            now,
            warn=lambda reason, message: events.event(self._registration.node, "Warning", reason, message),
            changed=lambda: self._registration.images_changed(),
            thresholds=Thresholds(
                settings.image_gc_high_percent,
                settings.image_gc_low_percent,
                settings.image_minimum_age_seconds,
            ),
        )
        return ImageManager(
            runtime,
            aliases,
            *backoff,
            now=now,
            store=store,
            puller=Puller(
                store,
                settings.registries_file,
                settings.max_parallel_image_pulls or int(settings.serialize_image_pulls),
            ),
            secrets=PullSecrets(sources.get, events),
            wake=self._wake_pod,
            changed=lambda: self._registration.images_changed(),
            on_use=usage.use,
            on_forget=usage.used,
        )

    @property
    def workers(self) -> dict[str, PodWorker]:
        """Return the pods at work, by uid."""
        return self._workers

    async def start(self) -> None:
        """Register the node and take up its pods; returns once the node is Ready. Raises RuntimeFailure, ApiError."""
        status = await self._runtime.status()
        machine = self._node.machine
        self._node.machine = Machine(
            status.node_ip, machine.memory_bytes, machine.allocatable, status.features, status.node_ipv6
        )
        self._informers.start()
        await self._registration.register(status)
        self._node.events.event(self._registration.node, "Normal", "Starting", "Starting kubelet.")
        await self._node.cache.resync()
        for pod_uid in self._node.cache.pod_uids():
            self._node.devices.restore(pod_uid, self._node.cache.containers(pod_uid))
        await asyncio.gather(self._pods.wait_synced(), self._services.wait_synced())
        self._pods.listen(self._pod_changed)
        await self.static_pods.begin()
        self._take_up_orphans()
        await asyncio.to_thread(self._remove_leftovers)
        self._tasks = [
            asyncio.create_task(self._follow_runtime(), name="runtime events"),
            asyncio.create_task(self._registration.run(), name="node status"),
            asyncio.create_task(self.eviction.run(self._sleep), name="eviction"),
            asyncio.create_task(self.static_pods.run(), name="static pods"),
            asyncio.create_task(watch_clock(self.look_again), name="clock"),
        ]
        if self._collector is not None:
            self._tasks.append(asyncio.create_task(self._collector.run(self._sleep), name="images"))

    async def stop(self, drain: bool = False) -> None:
        """Stop looking after pods. With `drain`, end their containers (each within its grace)."""
        await self._stop_working()
        if drain:
            await asyncio.gather(*(self._drain(worker) for worker in [*self._workers.values()]))
        await self._node.statuses.stop()
        try:
            await self._registration.report_not_ready("kubelet is stopping")
        except ApiError as error:
            logger.info("node not reported as stopping error=%s", error)

    async def abandon(self) -> None:
        """End at once, as with the machine: pods are left as they are, and the API hears of nothing."""
        await self._stop_working()
        self._node.statuses.abandon()

    async def _stop_working(self) -> None:
        """Look after no pod any more."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._node.images.stop()
        await asyncio.gather(*(worker.stop() for worker in [*self._workers.values()]))
        await self._node.probes.stop()
        await self._node.sources.stop()
        self._pods.unlisten(self._pod_changed)
        await self._informers.release(self._pods)

    # Pods

    def _list_pods(self) -> list[Object]:
        """Return the node's pods, static ones as they run."""
        return [translate(pod) for pod in self._pods.list()]

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if static_uid(new or old or {}):
            self._mirror_changed(old, new)
            return
        pod_uid = uid(new or old or {})
        worker = self._workers.get(pod_uid)
        if new is None or is_terminated(new):
            self._wake_waiting()
        if new is None:
            self._finished.discard(pod_uid)
            self._tokens.forget(pod_uid)
            if worker is not None:
                worker.vanish()
            return
        if pod_uid in self._finished or self._is_stopping:
            return
        self._node.statuses.saw(new)
        if worker is None:
            self._workers[pod_uid] = worker = PodWorker(self._node, new, self._pod_gone)
        worker.update(new)

    def _wake_pod(self, pod_uid: str) -> None:
        worker = self._workers.get(pod_uid)
        if worker is not None:
            worker.wake()

    def _wake_waiting(self) -> None:
        """Have pods looked at that wait for room on the node."""
        for worker in self._workers.values():
            if worker.waits_for_room:
                worker.wake()

    def _pod_gone(self, pod_uid: str) -> None:
        worker = self._workers.pop(pod_uid, None)
        self._node.admission.forget(pod_uid)
        self.static_pods.wake()
        if worker is not None and any(uid(pod) == pod_uid for pod in self._pods.by_index("uid", pod_uid)):
            self._finished.add(pod_uid)

    # Static pods

    def _mirror_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._node.statuses.forget(uid(old or {}))
        elif not self._is_stopping:
            self._node.statuses.saw(new)
            worker = self._workers.get(static_uid(new))
            if worker is not None and not is_deleting(worker.pod):
                worker.update(translate(new))
        if new is None or is_deleting(new):
            self.static_pods.wake()

    def _running_places(self) -> dict[Place, str]:
        """Return the uids of static pods that are at work, and of leftovers, which may have been such."""
        return {
            (namespace(worker.pod), name(worker.pod)): worker.uid
            for worker in self._workers.values()
            if static_uid(worker.pod) or not worker.is_known
        }

    def _start_static(self, pod: Object) -> None:
        self._workers[uid(pod)] = worker = PodWorker(self._node, pod, self._pod_gone)
        worker.update(pod)

    def _end_static(self, pod_uid: str) -> None:
        worker = self._workers.get(pod_uid)
        if worker is not None and not is_deleting(worker.pod):
            grace = grace_seconds(worker.pod)
            worker.update(mark_deleting(worker.pod, grace, self._node.now() + grace))

    def _may_use_devices(self, pod_uid: str) -> bool:
        """Tell whether a pod is to run, or still does."""
        pods = self._pods.by_index("uid", pod_uid)
        containers = self._node.cache.containers(pod_uid)
        return any(not is_terminated(pod) for pod in pods) or any(c.state == "Running" for c in containers)

    def _source_changed(self, pod_uid: str) -> None:
        worker = self._workers.get(pod_uid)
        if worker is not None:
            worker.refresh_volumes()

    def _take_up_orphans(self) -> None:
        """Clean up the pods that the runtime has and the API has forgotten."""
        for pod_uid in self._node.cache.pod_uids() - set(self._workers) - self.static_pods.uids:
            pod = self._make_orphan(pod_uid)
            logger.info(
                "pod is gone from the API, killing it pod=%s/%s", pod["metadata"]["namespace"], pod_uid
            )
            self._workers[pod_uid] = worker = PodWorker(self._node, pod, self._pod_gone, is_known=False)
            worker.wake()

    def _make_orphan(self, pod_uid: str) -> Object:
        """Return as much of a forgotten pod as its labels tell."""
        sandboxes, containers = self._node.cache.sandboxes(pod_uid), self._node.cache.containers(pod_uid)
        labels = {
            **(sandboxes[0].config.labels if sandboxes else {}),
            **(containers[0].config.labels if containers else {}),
        }
        names = dict.fromkeys(c.config.name for c in containers)
        pod = {
            "metadata": {
                "name": labels.get(POD_NAME_LABEL) or (sandboxes[0].config.name if sandboxes else pod_uid),
                "namespace": labels.get(POD_NAMESPACE_LABEL)
                or (sandboxes[0].config.namespace if sandboxes else "default"),
                "uid": pod_uid,
            },
            "spec": {"containers": [{"name": n, "image": ""} for n in names]},
        }
        return mark_deleting(pod, self.settings.orphan_grace_seconds)

    async def _mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        """Mount a tmpfs; where containers see no mounts the folder stays one of the disk, and an event says so."""
        if not self._node.machine.features.get("mounts"):
            await self._runtime.mount_memory(path, size_bytes, group)

    def _remove_leftovers(self) -> None:
        """Remove folders of pods that neither the API nor the runtime knows."""
        known = set(self._workers) | self.static_pods.uids
        for pod_uid in self._node.mounter.known_pods():
            if pod_uid not in known:
                shutil.rmtree(self.settings.pods_directory / pod_uid, ignore_errors=True)
        for folder in self.settings.logs_directory.iterdir():
            if folder.name.rpartition("_")[2] not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def look_again(self) -> None:
        """The time of day has jumped: pods get new tokens, and whatever waited for a time may be due."""
        self._tokens.forget_all()
        for worker in self._workers.values():
            worker.refresh_volumes()

    # What the node is short of

    def _pressures(self) -> frozenset[str]:
        """Return the pressures that the node is under."""
        return self.eviction.pressures

    def _preempt(self, pod_uid: str, reason: str, message: str) -> None:
        worker = self._workers.get(pod_uid)
        if worker is not None:
            worker.preempt(reason, message)

    def _evict(self, pod_uid: str, reason: str, message: str) -> None:
        worker = self._workers.get(pod_uid)
        if worker is not None:
            worker.evict(reason, message)

    def _tell_attempt(self, resource: str) -> None:
        message = f"Attempting to reclaim {resource}"
        self._node.events.event(self._registration.node, "Warning", "EvictionThresholdMet", message)

    async def _reclaim_disk(self) -> int:
        """Free disk that nobody needs, and return how many bytes; unused images are all that there is of it."""
        return await self._collector.delete_unused() if self._collector is not None else 0

    # The runtime

    async def _follow_runtime(self) -> None:
        while True:
            try:
                async for event in self._runtime.events():
                    await self._take_event(event)
            except (RuntimeFailure, OSError) as error:
                logger.warning("runtime events lost, will reconnect error=%s", error)
            await self._sleep(RECONNECT_SECONDS)

    async def _take_event(self, event: RuntimeEvent) -> None:
        if event.type == "resync":
            concerned = await self._node.cache.resync()
            self._take_up_orphans()
        else:
            concerned = {await self._node.cache.refresh_container(event.container_id)}
        for pod_uid in concerned:
            worker = self._workers.get(pod_uid)
            if worker is not None:
                worker.wake()

    async def _drain(self, worker: PodWorker) -> None:
        """End a pod's containers and take its network away; its object stays as it is."""
        try:
            await worker.drain(self.settings.drain_seconds)
        except RuntimeFailure as failure:
            logger.warning("pod not drained pod=%s error=%s", worker.uid, failure.message)
