"""The words of TrainJobs and their runtimes, and where things are found in them.

Source: pkg/constants/constants.go and pkg/apis/trainer/v1alpha1 of kubeflow/trainer.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.client.protocol import Object
from proa.ml.training.kinds import TRAINER_GROUP
from proa.objects import meta

CONTROLLER_NAME = f"{TRAINER_GROUP}/trainjob-controller"
"""`managedBy` of TrainJobs that are ours; others are left alone."""
ANCESTOR = f"{TRAINER_GROUP}/trainjob-ancestor-step"
TRAINER, DATASET, MODEL = "trainer", "dataset-initializer", "model-initializer"
"""Values of ANCESTOR; an initializer's container is called as its step."""
NODE = "node"
"""The container of the trainer's step."""
INITIALIZER_VOLUME = "initializer"
STORAGE_URI = "STORAGE_URI"
PORT = 29500
"""By which nodes find one another, unless their framework says otherwise."""
SUPPORT = f"{TRAINER_GROUP}/support"

COMPLETE, FAILED, SUSPENDED, STALLED = "Complete", "Failed", "Suspended", "Stalled"


def find_ancestor(replicated: Object) -> str:
    """Return which step of a TrainJob a replicated job is, "" for none."""
    return meta.labels(replicated["template"]).get(ANCESTOR, "")


def pod_template(replicated: Object) -> Object:
    """Return the pod template of a replicated job."""
    found: Object = (replicated["template"].get("spec") or {}).get("template") or {}
    return found


def containers(replicated: Object, key: str = "containers") -> list[Object]:
    """Return its containers, or what `key` names."""
    found: list[Object] = (pod_template(replicated).get("spec") or {}).get(key) or []
    return found


def find_container(replicated: Object, name: str) -> Object | None:
    """Return a container of that name."""
    return next((found for found in containers(replicated) if found.get("name") == name), None)


def steps(spec: Object, ancestor: str) -> Iterator[Object]:
    """Yield the replicated jobs of a JobSet's spec that are that step of a TrainJob."""
    for replicated in spec.get("replicatedJobs") or ():
        if find_ancestor(replicated) == ancestor:
            yield replicated


def is_finished(trainjob: Object) -> bool:
    """Tell whether a TrainJob has completed or failed."""
    return meta.has_condition(trainjob, COMPLETE) or meta.has_condition(trainjob, FAILED)


def is_suspended(trainjob: Object) -> bool:
    """Tell whether a TrainJob (or a JobSet) is to rest."""
    return trainjob["spec"].get("suspend") is True


class Unfit(Exception):
    """A TrainJob that cannot be carried out as it is; `reason` is its condition's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
