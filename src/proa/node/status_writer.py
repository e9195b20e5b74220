"""Write pods' statuses to the API: only what changed, the newest only, one write a pod at a time.

The patch is strategic, so that conditions of others stay, and carries the uid, so that it never lands on a
pod of the same name. Follows pkg/kubelet/status/status_manager.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from proa.client.protocol import STRATEGIC_MERGE_PATCH, Client, Object
from proa.objects.errors import ApiError, Conflict, NotFound
from proa.objects.meta import name, namespace, uid
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import PODS

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.2
MAX_RETRY_SECONDS = 10.0
OWN_FIELDS = (
    "phase", "reason", "message", "observedGeneration", "startTime", "hostIP", "hostIPs", "podIP", "podIPs",
    "containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses",
    "resources", "allocatedResources",
)  # fmt: skip
PASSING_CONDITIONS = ("PodResizePending", "PodResizeInProgress")
"""Conditions that are there only while they hold."""
_KEYED_LISTS = ("hostIPs", "podIPs")


@dataclass(slots=True)
class _Pod:
    """What is known of one pod: the object, its status in the API, and the one that it should have."""

    pod: Object
    known: Object
    wanted: Object | None = None
    task: asyncio.Task[None] | None = None


class StatusWriter:
    """One node's writer. `wrote` is told of each pod as stored.

    `find_target` returns the object that shows a pod's status: the pod, or a static one's mirror (None: not there).
    """

    def __init__(
        self,
        client: Client,
        wrote: Callable[[Object], None],
        find_target: Callable[[Object], Object | None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._wrote = wrote
        self._find_target = find_target
        self._sleep = sleep
        self._pods: dict[str, _Pod] = {}

    def put(self, pod: Object, status: Object) -> None:
        """Have the pod's status in the API become `status`, soon."""
        target = self._find_target(pod)
        if target is None:
            return
        entry = self._entry(target)
        if not make_patch(entry.known, status):
            entry.wanted = None
            return
        entry.wanted = status
        if entry.task is None:
            entry.task = asyncio.create_task(self._write(entry), name=f"status of {name(pod)}")

    def saw(self, pod: Object) -> None:
        """Take in the pod as the API has it."""
        entry = self._pods.get(uid(pod))
        if entry is not None and _version(pod) > _version(entry.pod):
            entry.pod, entry.known = pod, pod.get("status") or {}

    async def flush(self, pod_uid: str) -> None:
        """Return when the pod's last status is in the API, or the pod is gone."""
        entry = self._pods.get(pod_uid)
        while entry is not None and entry.task is not None:
            await asyncio.wait([entry.task])

    def forget(self, pod_uid: str) -> None:
        """Drop a pod that is gone."""
        entry = self._pods.pop(pod_uid, None)
        if entry is not None and entry.task is not None:
            entry.task.cancel()

    async def stop(self) -> None:
        """Write what waits, then end."""
        tasks = [e.task for e in self._pods.values() if e.task]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=2.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def abandon(self) -> None:
        """End, whatever still waits."""
        for entry in self._pods.values():
            if entry.task is not None:
                entry.task.cancel()

    def _entry(self, pod: Object) -> _Pod:
        entry = self._pods.get(uid(pod))
        if entry is None:
            entry = self._pods[uid(pod)] = _Pod(pod, pod.get("status") or {})
        return entry

    async def _write(self, entry: _Pod) -> None:
        retry_seconds = FIRST_RETRY_SECONDS
        try:
            while entry.wanted is not None:
                wanted, entry.wanted = entry.wanted, None
                patch = make_patch(entry.known, wanted)
                if not patch:
                    continue
                try:
                    await self._send(entry, patch)
                    retry_seconds = FIRST_RETRY_SECONDS
                except (NotFound, Conflict):
                    return
                except ApiError as error:
                    logger.warning("status not written pod=%s error=%s", name(entry.pod), error)
                    if error.code == 422:
                        return
                    entry.wanted = entry.wanted or wanted
                    await self._sleep(retry_seconds)
                    retry_seconds = min(retry_seconds * 2, MAX_RETRY_SECONDS)
        finally:
            entry.task = None

    async def _send(self, entry: _Pod, patch: Object) -> None:
        body = {"metadata": {"uid": uid(entry.pod)}, "status": patch}
        stored = await self._client.patch(
            PODS,
            name(entry.pod),
            body,
            namespace(entry.pod),
            patch_type=STRATEGIC_MERGE_PATCH,
            subresource="status",
        )
        if _version(stored) >= _version(entry.pod):
            entry.pod, entry.known = stored, stored.get("status") or {}
        self._wrote(stored)


def make_patch(known: Object, wanted: Object) -> Object:
    """Return the strategic merge patch of status that turns our part of `known` into `wanted`; {} for none."""
    patch: dict[str, Any] = {}
    for key in OWN_FIELDS:
        if key in wanted and wanted[key] != known.get(key):
            patch[key] = wanted[key]
            if key in _KEYED_LISTS and known.get(key):
                patch[key] = [*wanted[key], {"$patch": "replace"}]
        elif key not in wanted and key in known and key in ("reason", "message"):
            patch[key] = None
    present = {c["type"]: c for c in known.get("conditions") or []}
    changed = [_condition_patch(c, present.get(c["type"])) for c in wanted.get("conditions") or []]
    has = {c["type"] for c in wanted.get("conditions") or []}
    over = [
        {"type": type, "$patch": "delete"}
        for type in PASSING_CONDITIONS
        if type in present and type not in has
    ]
    conditions = [*(c for c in changed if c), *over]
    if conditions:
        patch["conditions"] = conditions
    return patch


def _condition_patch(wanted: Object, known: Object | None) -> Object | None:
    if known is None:
        return wanted
    gone: Object = {key: None for key in ("reason", "message") if key in known and key not in wanted}
    if not gone and all(known.get(key) == value for key, value in wanted.items()):
        return None
    return {**wanted, **gone}


def _version(pod: Object) -> int:
    return int(pod["metadata"].get("resourceVersion") or 0)
