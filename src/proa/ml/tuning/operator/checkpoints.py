"""Keep a volume for an experiment whose algorithm goes on from trials' checkpoints (pbt).

Made when the first trial needs it, owned by the Experiment. Source: pkg/controller.v1beta1/suggestion/composer of
kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.client.protocol import Client, Object
from proa.ml.tuning.algorithms.pbt import PARENT_LABEL
from proa.ml.tuning.injection.settings import Checkpoints
from proa.ml.tuning.kinds import EXPERIMENTS
from proa.objects import meta
from proa.objects.errors import AlreadyExists
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS

SETTING = "suggestion_trial_dir"


def find_checkpoints(trial: Object, experiment: Object) -> Checkpoints | None:
    """Return what the algorithm shares with a trial, None for nothing."""
    algorithm: Mapping[str, object] = experiment["spec"].get("algorithm") or {}
    settings = algorithm.get("algorithmSettings")
    for setting in settings if isinstance(settings, list) else ():
        if setting.get("name") == SETTING and setting.get("value"):
            name = meta.name(experiment)
            parent = meta.labels(trial).get(PARENT_LABEL, "")
            claim = f"{name}-{algorithm.get('algorithmName')}"
            return Checkpoints(claim, str(setting["value"]), name, parent)
    return None


async def ensure_claim(client: Client, claim: str, spec: Object, experiment: Object) -> None:
    """Make the volume, unless it is there: its author may have made another one."""
    made = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim,
            "namespace": meta.namespace(experiment),
            "ownerReferences": [meta.make_owner_reference(experiment, EXPERIMENTS)],
        },
        "spec": spec,
    }
    try:
        await client.create(PERSISTENT_VOLUME_CLAIMS, made, meta.namespace(experiment))
    except AlreadyExists:
        return
