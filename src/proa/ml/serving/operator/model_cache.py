"""Let go of models' files that no revision has any more, in the nodes' cache, where it is a folder of this machine.

Watches the Deployments of InferenceServices come and go; writes nothing to the API. A revision's files stay for a while
after its Deployment, for pods that are still ending. On machines that the operator does not reach, they stay. What pods
have written (their models' ONNX forms) is looked at from time to time, and kept within bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from proa.client.protocol import Object
from proa.ml.serving.kinds import INITIALIZER_CONTAINER, SERVICE_LABEL
from proa.ml.serving.revisions.conversions import VOLUME
from proa.ml.serving.settings import ServingSettings
from proa.ml.serving.storage.conversions import MOST_BYTES, MOST_OF_NAMESPACE_BYTES, trim
from proa.ml.serving.storage.store import Store, forget, list_converted
from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

GRACE_SECONDS = 600.0
LOOK_SECONDS = 600.0
"""Between two looks at what pods have written."""
KEEP_BYTES = 50 << 30


def _keys_of(deployment: Object) -> Iterable[Key]:
    yield Key(meta.namespace(deployment), "")


class ModelCacheController:
    """`reconcile.protocol.Controller`; a key is a namespace."""

    NAME = "model-cache"
    COMPONENT = "model-cache"
    ACCOUNT = "serving-operator"
    WATCHES: Sequence[Watch] = (
        Watch(DEPLOYMENTS, keys_of=_keys_of, label_selector=SERVICE_LABEL, ignores=lambda old, new: True),
    )

    def __init__(self, settings: ServingSettings) -> None:
        """Where there is no cache there is nothing to do."""
        self._cache = Path(settings.model_cache) if settings.model_cache else None
        self._has_looked = False

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Let go of what a namespace does not need; the first time, of what any does not."""
        if self._cache is None or not self._cache.is_dir():
            return DONE
        names = [key.namespace]
        if not self._has_looked:
            self._has_looked = True
            names = sorted({key.namespace, *(one.name for one in self._cache.iterdir() if one.is_dir())})
        again = 0.0
        for name in names:
            deployments = context.caches(DEPLOYMENTS, "", SERVICE_LABEL).by_index("namespace", name)
            live = {found for one in deployments if (found := revision_of(one))}
            soon = await asyncio.to_thread(_let_go, self._cache / name, live, context.now())
            again = min(again, soon) if again and soon else again or soon
        return Result(requeue_after=again) if again else DONE


def revision_of(deployment: Object) -> str:
    """Return what a Deployment's files in a store are called, UID/NAME; "" where it has none."""
    spec = deployment["spec"]["template"]["spec"]
    for container in spec.get("initContainers") or ():
        command = container.get("command") or []
        if container.get("name") == INITIALIZER_CONTAINER and "--revision" in command[:-1]:
            return str(command[command.index("--revision") + 1])
    for volume in spec.get("volumes") or ():  # of a model that is mounted, not fetched
        if volume.get("name") == VOLUME and "hostPath" in volume:
            uid, _, name = str(volume["hostPath"]["path"]).split("/")[-3:]
            return f"{uid}/{name}"
    return ""


def _let_go(folder: Path, live: set[str], now: float) -> float:
    """Return when to look again; 0 for not before something changes."""
    if not (folder / "revisions").is_dir():
        return 0
    gone, waiting = forget(folder, live, now, GRACE_SECONDS)
    if gone:
        Store(folder).evict(KEEP_BYTES)
    converted = list_converted(folder)
    for one in converted:
        trim([one], MOST_BYTES)
    trim(converted, MOST_OF_NAMESPACE_BYTES)
    return GRACE_SECONDS + 1 if waiting else LOOK_SECONDS if converted else 0
