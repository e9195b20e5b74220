"""What a step's outputs depend on, as one hash: two steps with the same one may share outputs.

The key is upstream's (GenerateCacheKey of backend/src/v2/cacheutils/cache.go, getFingerPrint of driver/cache.go), and
beyond it the tags and metadata of input artifacts: one that was changed in place is no hit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from proa.ml.pipelines.executor.executor_input import make_runtime_artifact
from proa.ml.pipelines.executor.step import Step
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Json


def make_fingerprint(launch: Launch, step: Step, tags: Mapping[str, Sequence[str]]) -> str:
    """Return the fingerprint, hexadecimal; `tags` are the content tags of each input's artifacts (Stat.tag).

    What cannot be asked for its tag is passed as its URI.
    """
    options = launch.task_spec.get("cachingOptions", {})
    if own := options.get("cacheKey"):
        component = launch.task_spec.get("componentRef", {}).get("name", "")
        return _hash((f"{component}\0" if component else "") + own)
    return _hash(json.dumps(make_cache_key(launch, step, tags), sort_keys=True, separators=(",", ":")))


def make_cache_key(launch: Launch, step: Step, tags: Mapping[str, Sequence[str]]) -> Json:
    """Return what the fingerprint is made of, for people who ask why a step was not answered from the cache."""
    container = launch.executor["container"]
    parameters = launch.component.get("outputDefinitions", {}).get("parameters", {})
    return {
        "inputArtifactNames": {
            name: [item.name for item in items] for name, items in launch.inputs.artifacts.items()
        },
        "inputArtifactMetadata": {
            name: [dict(item.metadata) for item in items] for name, items in launch.inputs.artifacts.items()
        },
        "inputArtifactTags": {name: list(found) for name, found in tags.items()},
        "inputParameterValues": step.executor_input["inputs"].get("parameterValues", {}),
        "outputArtifactsSpec": {
            name: {**make_runtime_artifact(items[0]), "uri": ""} for name, items in step.outputs.items()
        },
        "outputParametersSpec": {name: spec.get("parameterType", "") for name, spec in parameters.items()},
        "containerSpec": {
            "image": container.get("image", ""),
            "cmdArgs": [*container.get("command", []), *container.get("args", [])],
            "pvcNames": sorted(
                {
                    volume["persistentVolumeClaim"]["claimName"]
                    for volume in step.parts.volumes.volumes
                    if "persistentVolumeClaim" in volume
                }
            ),
        },
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
