"""Have what our server makes of a model (its ONNX form) be there for the next pod: in a folder of the node.

Pure. Where there can be no such folder the pod has one of its own. It is the revision's alone: what a model's own
code puts there is served to no other revision, as what a canary makes to those before it. It is beside the revisions in
the node's cache (storage/store.py), goes with the revision, and is kept small (storage/conversions.py).
"""

from __future__ import annotations

import posixpath

from proa.client.protocol import Object
from proa.ml.serving.kinds import CONVERTED_FOLDER
from proa.ml.serving.revisions.model_files import may_mount_host_paths
from proa.objects import meta

VOLUME = "proa-converted"


def make_conversions(cache: str, namespace: Object, isvc: Object, revision: str) -> Object:
    """Return the volume; `cache` is the nodes' folder of models, "" for none."""
    if not cache or not may_mount_host_paths(namespace):
        return {"name": VOLUME, "emptyDir": {}}
    path = posixpath.join(cache, meta.name(namespace), "revisions", meta.uid(isvc), "converted", revision)
    return {"name": VOLUME, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}


def add_conversions(spec: Object, container: Object, volume: Object) -> Object:
    """Return the pod spec in which our server's container has the volume."""
    changed = {
        **container,
        "volumeMounts": [
            *(container.get("volumeMounts") or ()),
            {"name": VOLUME, "mountPath": CONVERTED_FOLDER},
        ],
    }
    containers = [changed if one is container else one for one in spec["containers"]]
    return {**spec, "containers": containers, "volumes": [*(spec.get("volumes") or ()), volume]}
