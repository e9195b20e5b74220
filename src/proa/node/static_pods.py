"""Run the pods of a folder's manifests on this node, and show each in the API as a mirror pod.

Watches the folder and the node's mirror pods; writes mirror pods. What runs is the mirror's spec, as the API has
defaulted and checked it, under the manifest's own uid (a hash), so that a mirror may be deleted and comes back while
its pod runs on. Follows pkg/kubelet/config/file.go and common.go, and pkg/kubelet/pod/mirror_client.go.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from proa.client.protocol import Client, Object
from proa.node.eviction.ranking import CONFIG_SOURCE_ANNOTATION, MIRROR_ANNOTATION
from proa.node.file_watch import FileWatch
from proa.objects.errors import ApiError, Conflict, NotFound
from proa.objects.meta import annotations as annotations_of
from proa.objects.meta import format_time, is_deleting, name, namespace, uid
from proa.objects.resource import PODS

logger = logging.getLogger(__name__)

HASH_ANNOTATION = "kubernetes.io/config.hash"
SEEN_ANNOTATION = "kubernetes.io/config.seen"
MANIFEST_LIMIT_BYTES = 1 << 20
SETTLE_SECONDS = 0.1
"""Editors write a file in several steps."""
RETRY_SECONDS = 10.0

Place = tuple[str, str]
"""A pod's namespace and name."""


class ManifestError(ValueError):
    """The file does not hold one pod."""


def read_manifest(data: bytes) -> Object:
    """Return the pod that a file holds, as YAML or JSON; raise ManifestError."""
    import yaml

    try:
        found = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ManifestError(str(error)) from error
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != ("v1", "Pod"):
        raise ManifestError("it holds no Pod of v1")
    if not (isinstance(found.get("metadata"), dict) and isinstance(found["metadata"].get("name"), str)):
        raise ManifestError("metadata.name: Required value")
    if not isinstance(found.get("spec"), dict):
        raise ManifestError("spec: Required value")
    return found


def make_mirror(manifest: Object, path: Path, node: Object, now: float) -> Object:
    """Return the mirror pod of a manifest on a node: named after both, tolerant of all that would end it."""
    node_name = name(node)
    content = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS, default=str)
    digest = hashlib.md5(usedforsecurity=False)
    for part in (content, f"host:{node_name}".encode(), f"file:{path}".encode()):
        digest.update(part)
    metadata, spec = manifest["metadata"], manifest["spec"]
    annotations = {
        **(metadata.get("annotations") or {}),
        HASH_ANNOTATION: digest.hexdigest(),
        MIRROR_ANNOTATION: digest.hexdigest(),
        SEEN_ANNOTATION: format_time(now),
        CONFIG_SOURCE_ANNOTATION: "file",
    }
    owner = {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": uid(node), "controller": True}
    kept: dict[str, Any] = {key: metadata[key] for key in ("labels",) if metadata.get(key)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **kept,
            "name": f"{metadata['name']}-{node_name.lower()}",
            "namespace": metadata.get("namespace") or "default",
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": {
            **spec,
            "nodeName": node_name,
            "tolerations": [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}],
        },
    }


def static_uid(pod: Object) -> str:
    """Return the uid under which a mirror's pod runs, "" for a pod that is no mirror."""
    return annotations_of(pod).get(MIRROR_ANNOTATION, "")


def translate(pod: Object) -> Object:
    """Return the pod that runs for a mirror: with its own uid, whatever becomes of the mirror; another pod as it is."""
    own = static_uid(pod)
    if not own:
        return pod
    passing = ("deletionTimestamp", "deletionGracePeriodSeconds")
    metadata = {key: value for key, value in pod["metadata"].items() if key not in passing}
    return {**pod, "metadata": {**metadata, "uid": own}}


class StaticPods:
    """One node's. `mirrors` lists the node's pods in the API; `running` the uids of pods at work by their place.

    `start(pod)` has a pod run, `end(uid)` has it end; both are told what they may know already.
    """

    def __init__(
        self,
        client: Client,
        folder: Path,
        *,
        node: Callable[[], Object],
        pods: Callable[[], Sequence[Object]],
        running: Callable[[], Mapping[Place, str]],
        start: Callable[[Object], None],
        end: Callable[[str], None],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._folder = folder
        self._node = node
        self._pods = pods
        self._running = running
        self._start = start
        self._end = end
        self._now = now
        self._sleep = sleep
        self._wanted: dict[Place, Object] = {}
        self._changed = asyncio.Event()
        self._told: dict[Path, str] = {}

    @property
    def uids(self) -> set[str]:
        """Return the uids of the pods that are to run."""
        return {static_uid(mirror) for mirror in self._wanted.values()}

    def find_mirror(self, pod: Object) -> Object | None:
        """Return the object in the API that tells of a pod: of a static one its mirror, if there is one."""
        own = static_uid(pod)
        if not own:
            return pod
        return next((m for m in self._mirrors() if static_uid(m) == own and not is_deleting(m)), None)

    def wake(self) -> None:
        """Look again: a mirror has changed, or a pod has gone."""
        self._changed.set()

    async def begin(self) -> None:
        """Read the folder and have its pods run; what the API refuses is tried again later."""
        self._read()
        await self._reconcile()

    async def run(self) -> None:
        """Follow the folder and the mirrors for ever."""
        await self._sleep(SETTLE_SECONDS)
        watch = FileWatch(self._folder)
        folder = asyncio.create_task(self._follow(watch), name="static pods' folder")
        try:
            while True:
                await self._changed.wait()
                await self._sleep(SETTLE_SECONDS)
                self._changed.clear()
                self._read()
                if not await self._reconcile():
                    await self._sleep(RETRY_SECONDS)
                    self._changed.set()
        finally:
            folder.cancel()
            await asyncio.gather(folder, return_exceptions=True)
            watch.close()

    async def _follow(self, watch: FileWatch) -> None:
        self._changed.set()
        while True:
            await watch.wait()
            self._changed.set()

    def _mirrors(self) -> Iterator[Object]:
        return (pod for pod in self._pods() if static_uid(pod))

    def _read(self) -> None:
        """Take in what the folder holds; a file that cannot be read is told once, and runs nothing."""
        wanted: dict[Place, Object] = {}
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            try:
                with open(path, "rb") as file:
                    mirror = make_mirror(
                        read_manifest(file.read(MANIFEST_LIMIT_BYTES)), path, self._node(), self._now()
                    )
            except (ManifestError, OSError) as error:
                self._tell(path, str(error))
                continue
            self._told.pop(path, None)
            wanted.setdefault((namespace(mirror), name(mirror)), mirror)
        self._wanted = wanted

    def _tell(self, path: Path, why: str) -> None:
        if self._told.get(path) != why:
            self._told[path] = why
            logger.error("static pod not run file=%s error=%s", path, why)

    async def _reconcile(self) -> bool:
        """Bring pods and mirrors to what is wanted; tell whether that is all done."""
        running = dict(self._running())
        wanted = self.uids
        for own in running.values():
            if own not in wanted:
                self._end(own)
        done = True
        shown: dict[Place, Object] = {}
        for mirror in [*self._mirrors()]:
            place = (namespace(mirror), name(mirror))
            if is_deleting(mirror) or (static_uid(mirror) not in wanted and place not in running):
                await self._delete(mirror)
            else:
                shown[place] = mirror
        for place, pod in self._wanted.items():
            if running.get(place, static_uid(pod)) != static_uid(pod):
                continue  # the one before it is still ending, and its end wakes us
            old = shown.get(place)
            if old is not None and static_uid(old) != static_uid(pod):
                await self._delete(old)
                old = None
            found = old or await self._create(place, pod)
            if found is None:
                done = False
            elif place not in running:
                self._start(translate(found))
        return done

    async def _create(self, place: Place, pod: Object) -> Object | None:
        try:
            return await self._client.create(PODS, pod, place[0])
        except ApiError as error:
            logger.error("mirror pod not created pod=%s/%s error=%s", *place, error)
            return None

    async def _delete(self, mirror: Object) -> None:
        try:
            await self._client.delete(
                PODS, name(mirror), namespace(mirror), grace_period_seconds=0, uid=uid(mirror)
            )
        except (NotFound, Conflict):
            return
        except ApiError as error:
            logger.warning("mirror pod not deleted pod=%s error=%s", name(mirror), error)
