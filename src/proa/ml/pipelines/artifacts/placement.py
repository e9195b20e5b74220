"""Decide how an attempt's pod gets at artifacts: which folders are mounted where, what is fetched and delivered.

Pure. Inputs of a folder of this machine are mounted read-only, a whole run's folder at once, so that a thousand
collected artifacts are one mount, and the attempt's own folder writable over it. Inputs of buckets are fetched by an
init container into an emptyDir; what is written for a bucket is delivered by a sidecar after the main container's end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings, credentials_variable, to_json
from proa.ml.pipelines.artifacts.claims import CLAIM
from proa.ml.pipelines.artifacts.protocol import ArtifactError, Placement
from proa.ml.pipelines.artifacts.uris import KFP, LOCAL_FOLDERS, PIP_CACHE, Uri
from proa.ml.pipelines.records import Artifact

VOLUME = "pipeline-artifacts"
"""The folder of this machine."""
SCRATCH = "pipeline-scratch"
"""The emptyDir that fetch and deliver fill and empty."""
KFP_PATH = "/tmp/kfp"  # noqa: S108  # in a container of its own
PIP_CACHE_PATH = "/tmp/.pip-cache"  # noqa: S108
STATE_PATH = "/pipeline-state"
FETCH, DELIVER = "fetch-artifacts", "deliver-artifacts"
DELIVERY_SECONDS = 600
"""How long a delivery may take."""
MAX_FETCHED = 5_000
WORKSPACE_MARK = "_kfp_workspace"
"""Metadata of an artifact that the pipeline's workspace has already (the SDK's dsl/types/artifact_types.py)."""

Json = dict[str, Any]


def from_folder(mounted: Iterable[Uri], task_root: Uri | None) -> Placement:
    """Return the mounts of the folder's volume: `mounted` read-only, the attempt's own, if it is there, writable."""
    mounts, env = [_claimed(uri, read_only=True) for uri in mounted], list[Json]()
    if task_root is not None:
        mounts.append(_claimed(task_root, read_only=False))
        kfp = "/".join([_subpath(task_root), *KFP])
        mounts.append({"name": VOLUME, "mountPath": KFP_PATH, "subPath": kfp})
        mounts.append({"name": VOLUME, "mountPath": PIP_CACHE_PATH, "subPath": PIP_CACHE})
        env.append({"name": "PIP_CACHE_DIR", "value": PIP_CACHE_PATH})
    volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": CLAIM}}
    return Placement(volumes=[volume] if mounts else [], mounts=mounts, env=env)


def _claimed(uri: Uri, *, read_only: bool) -> Json:
    mount: Json = {"name": VOLUME, "mountPath": uri.local_path, "subPath": _subpath(uri)}
    return mount | {"readOnly": True} if read_only else mount


def _subpath(uri: Uri) -> str:
    return f"{uri.bucket}/{uri.key}" if uri.key else uri.bucket


def group_by_run(inputs: Iterable[Artifact]) -> list[Uri]:
    """Return the folders to mount so that all inputs are found: their runs', or themselves where no run is theirs.

    No folder is within another one of them.
    """
    wanted = {_folder_of(artifact) for artifact in inputs}
    kept: list[Uri] = []
    for uri in sorted(wanted, key=lambda uri: (uri.scheme, uri.bucket, uri.parts)):
        if not any(uri.is_within(other) for other in kept[-1:]):
            kept.append(uri)
    return kept


def _folder_of(artifact: Artifact) -> Uri:
    uri = uris.parse(artifact.uri)
    if artifact.run_id and artifact.run_id in uri.parts[:-1]:
        length = uri.parts.index(artifact.run_id) + 1
        return Uri(uri.scheme, uri.bucket, "/".join(uri.parts[:length]))
    return uri


def with_images(inputs: Iterable[Artifact]) -> Placement:
    """Return the volumes of inputs that are images (oci://): their /models is where the SDK looks for a model."""
    volumes, mounts, seen = [], [], set()
    for artifact in inputs:
        if not artifact.uri.startswith("oci://") or artifact.uri in seen:
            continue
        seen.add(artifact.uri)
        name = f"pipeline-image-{len(seen)}"
        volumes.append({"name": name, "image": {"reference": artifact.uri[len("oci://") :]}})
        path = uris.local_path(artifact.uri)
        mounts.append({"name": name, "mountPath": path, "subPath": "models", "readOnly": True})
    return Placement(volumes=volumes, mounts=mounts)


def fetched(inputs: Mapping[Uri, BucketSettings], image: str) -> Placement:
    """Return the init container that brings inputs from buckets to their local paths."""
    if not inputs:
        return Placement()
    if len(inputs) > MAX_FETCHED:
        raise ArtifactError(
            f"{len(inputs)} input artifacts of buckets: more than {MAX_FETCHED} are not fetched"
        )
    schemes = sorted({uri.scheme for uri in inputs})
    mounts = [_scratch(f"/{LOCAL_FOLDERS[scheme]}", f"in/{LOCAL_FOLDERS[scheme]}") for scheme in schemes]
    container = _container(FETCH, image, "fetch", inputs, mounts)
    return Placement(volumes=[_scratch_volume()], mounts=mounts, init_containers=[container])


def delivered(task_root: Uri, settings: BucketSettings, image: str) -> Placement:
    """Return the sidecar that brings what the attempt left to its bucket, after the main container's end."""
    mounts = [
        _scratch(task_root.local_path, "out"),
        _scratch(KFP_PATH, "kfp"),
        _scratch(f"{KFP_PATH}/outputs", "kfp/outputs"),
    ]
    state = _scratch(STATE_PATH, "state")
    sidecar = _container(DELIVER, image, "deliver", {task_root: settings}, [*mounts, state])
    sidecar["restartPolicy"] = "Always"
    sidecar["lifecycle"] = {"postStart": {"exec": {"command": ["sh", "-c", _UNTIL_READY]}}}
    return Placement(
        volumes=[_scratch_volume()], mounts=mounts, sidecars=[sidecar], grace_seconds=DELIVERY_SECONDS
    )


_UNTIL_READY = f"until [ -e {STATE_PATH}/ready ]; do sleep 0.02; done"
"""The main container starts once this is true: a SIGTERM before its handler is there would be lost on a PID 1."""


def _scratch_volume() -> Json:
    return {"name": SCRATCH, "emptyDir": {}}


def _scratch(path: str, subpath: str) -> Json:
    return {"name": SCRATCH, "mountPath": path, "subPath": subpath}


def _container(
    name: str, image: str, verb: str, wanted: Mapping[Uri, BucketSettings], mounts: Sequence[Json]
) -> Json:
    """Return a container of transfer.py: the buckets' settings are its first argument, then `number=URI`."""
    settings = list(dict.fromkeys(wanted.values()))
    described = json.dumps([to_json(one) for one in settings], sort_keys=True)
    numbered = [f"{settings.index(wanted[uri])}={uri}" for uri in sorted(wanted, key=str)]
    return {
        "name": name,
        "image": image,
        "command": ["python3", "-m", "proa.ml.pipelines.artifacts.transfer"],
        "args": [
            text.replace("$", "$$") for text in (verb, described, *numbered)
        ],  # no $(VARIABLE) is expanded
        "env": [one for number, secret in enumerate(settings) for one in _credentials(number, secret)],
        "volumeMounts": list(mounts),
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _credentials(number: int, settings: BucketSettings) -> list[Json]:
    """Return the variables that bring a bucket's credentials to these containers, and to no other one."""
    if settings.secret is None:
        return []
    keys = {"ACCESS_KEY": settings.secret.access_key, "SECRET_KEY": settings.secret.secret_key}
    name = settings.secret.name
    return [
        {
            "name": credentials_variable(number, what),
            "valueFrom": {"secretKeyRef": {"name": name, "key": key}},
        }
        for what, key in keys.items()
        if key
    ]


def merge(*placements: Placement) -> Placement:
    """Return all of them as one; a volume that several have is there once."""
    volumes = {volume["name"]: volume for one in placements for volume in one.volumes}
    return Placement(
        volumes=list(volumes.values()),
        mounts=[mount for one in placements for mount in one.mounts],
        init_containers=[container for one in placements for container in one.init_containers],
        sidecars=[container for one in placements for container in one.sidecars],
        env=[variable for one in placements for variable in one.env],
        grace_seconds=max((one.grace_seconds for one in placements), default=0),
    )


def explain_delivery(pod: Mapping[str, Any]) -> str:
    """Return what the sidecar that delivers said last where it failed; "" where it did not, or is not there."""
    for status in (pod.get("status") or {}).get("initContainerStatuses") or ():
        ended = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get(
            "terminated"
        )
        if status["name"] == DELIVER and ended and ended.get("exitCode"):
            return str(ended.get("message") or f"exit code {ended['exitCode']}").strip()
    return ""


def is_in_workspace(artifact: Artifact) -> bool:
    """Tell whether the pipeline's workspace has it, so that nothing is to be brought."""
    return artifact.metadata.get(WORKSPACE_MARK) is True
