"""The volume that an algorithm shares with its trials (pbt): each trial's folder of it, which begins as its parent's.

The folder is mounted into the training where the setting `suggestion_trial_dir` says. A trial that goes on from another
gets a copy of that one's folder by an init container, once: what it has written itself is not overwritten when its pod
is made again. Source: mutateSuggestionVolume in pkg/webhook/v1beta1/pod/inject_webhook.go of kubeflow/katib; there, the
algorithm's own pod copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.tuning.injection.settings import Checkpoints, Settings

Json = dict[str, Any]

VOLUME = "suggestion-volume"
COPY_CONTAINER = "checkpoints-of-parent"
_FOLDER = "/checkpoints"
_COPY = """\
import os, shutil, sys
parent, own = sys.argv[1:]
part = f"{own}.{os.uname().nodename}.part"
shutil.rmtree(part, ignore_errors=True)
if os.path.isdir(parent) and not os.path.exists(own):
    shutil.copytree(parent, part, symlinks=True)
    try:
        os.rename(part, own)
    except OSError:  # another pod of the trial was first
        shutil.rmtree(part)
"""


def with_checkpoints(
    spec: Json, main: Mapping[str, Any], trial: str, settings: Settings, security: Json
) -> tuple[Json, Json]:
    """Return a pod's spec and its training's container with the trial's folder."""
    checkpoints = settings.checkpoints
    assert checkpoints is not None
    claim = {"persistentVolumeClaim": {"claimName": checkpoints.claim}}
    spec = {**spec, "volumes": [*(spec.get("volumes") or ()), {"name": VOLUME, **claim}]}
    if checkpoints.parent:
        copy = _make_copy(checkpoints, trial, settings, security)
        spec["initContainers"] = [*(spec.get("initContainers") or ()), copy]
    mount = {
        "name": VOLUME,
        "mountPath": checkpoints.mount_path,
        "subPath": f"{checkpoints.experiment}/{trial}",
    }
    return spec, {**main, "volumeMounts": [*(main.get("volumeMounts") or ()), mount]}


def _make_copy(checkpoints: Checkpoints, trial: str, settings: Settings, security: Json) -> Json:
    folders = [f"{_FOLDER}/{checkpoints.parent}", f"{_FOLDER}/{trial}"]
    return {
        "name": COPY_CONTAINER,
        "image": settings.image,
        "command": ["python3", "-S", "-E", "-I", "-c", _COPY, *folders],
        "securityContext": security,
        "volumeMounts": [{"name": VOLUME, "mountPath": _FOLDER, "subPath": checkpoints.experiment}],
    }
