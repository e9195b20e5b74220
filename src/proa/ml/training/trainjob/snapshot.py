"""A runtime as it was when a TrainJob began, kept beside it: what others change of the runtime changes no TrainJob.

A ConfigMap `<trainjob>-runtime-snapshot`, as pkg/runtime/core/snapshot.go of kubeflow/trainer has it. It may be deleted
with the runtime: a runtime in use needs no finalizer.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.client.protocol import Client, Object
from proa.ml.training.kinds import CLUSTER_TRAINING_RUNTIMES, TRAIN_JOBS, TRAINER_GROUP, TRAINING_RUNTIMES
from proa.ml.training.trainjob.words import Unfit
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import CONFIG_MAPS

SUFFIX = "-runtime-snapshot"
KEY = "runtime"
KINDS = {resource.kind: resource for resource in (TRAINING_RUNTIMES, CLUSTER_TRAINING_RUNTIMES)}


class NoRuntime(Exception):
    """The runtime that a TrainJob names is not there (yet); `message` says what would help."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


async def get_runtime(client: Client, trainjob: Object) -> Object:
    """Return the runtime as it was at first, and see that it is kept; raise Unfit, NoRuntime or ApiError."""
    reference = trainjob["spec"]["runtimeRef"]
    resource = KINDS.get(reference.get("kind", ""))
    if resource is None or reference.get("apiGroup", TRAINER_GROUP) != TRAINER_GROUP:
        raise Unfit(
            "TrainingRuntimeNotSupported",
            f"unsupported runtime: {reference.get('kind')}.{reference.get('apiGroup')}; spec.runtimeRef.kind may be "
            f"{' or '.join(KINDS)}, of {TRAINER_GROUP}",
        )
    namespace = meta.namespace(trainjob)
    try:
        kept = await client.get(CONFIG_MAPS, meta.name(trainjob) + SUFFIX, namespace)
        return _read(trainjob, kept)
    except NotFound:
        pass
    try:
        runtime = await client.get(resource, reference["name"], namespace if resource.namespaced else None)
    except NotFound:
        raise NoRuntime(await _say_what_there_is(client, trainjob)) from None
    try:
        await client.create(CONFIG_MAPS, make_snapshot(trainjob, runtime), namespace)
    except AlreadyExists:
        return _read(trainjob, await client.get(CONFIG_MAPS, meta.name(trainjob) + SUFFIX, namespace))
    return runtime


def make_snapshot(trainjob: Object, runtime: Object) -> Object:
    """Return the ConfigMap; its text is JSON, which is YAML."""
    kept = {key: runtime[key] for key in ("apiVersion", "kind", "spec")}
    kept["metadata"] = {key: value for key, value in runtime["metadata"].items() if key != "managedFields"}
    return {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": CONFIG_MAPS.kind,
        "metadata": {
            "name": meta.name(trainjob) + SUFFIX,
            "namespace": meta.namespace(trainjob),
            "ownerReferences": [meta.make_owner_reference(trainjob, TRAIN_JOBS)],
        },
        "data": {KEY: orjson.dumps(kept).decode()},
    }


def _read(trainjob: Object, kept: Object) -> Object:
    name = meta.key_of(kept)
    if not meta.is_controlled_by(kept, trainjob):
        raise NoRuntime(
            f"ConfigMap {name} is of another object; delete it, or give the TrainJob another name"
        )
    try:
        runtime: Any = orjson.loads((kept.get("data") or {}).get(KEY, ""))
    except orjson.JSONDecodeError:
        runtime = None
    if not isinstance(runtime, dict) or runtime.get("kind") not in KINDS:
        raise Unfit(
            "InvalidRuntimeSnapshot",
            f"ConfigMap {name} is no runtime: make the TrainJob anew under another name",
        )
    return runtime


async def _say_what_there_is(client: Client, trainjob: Object) -> str:
    reference, namespace = trainjob["spec"]["runtimeRef"], meta.namespace(trainjob)
    cluster = await client.list(CLUSTER_TRAINING_RUNTIMES, limit=10)
    own = await client.list(TRAINING_RUNTIMES, namespace, limit=10)
    there = [
        *(f"ClusterTrainingRuntime {meta.name(found)}" for found in cluster.items),
        *(f"TrainingRuntime {meta.name(found)}" for found in own.items),
    ]
    return (
        f"spec.runtimeRef: {reference['kind']} {reference['name']} is not found: it must be created before the "
        f"TrainJob is; there are {', '.join(there) or 'none'}"
    )
