"""What an administrator, an algorithm and the cluster say about how collectors are put into pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from proa.objects.quick_dataclass import dataclass

HOST_IMAGE = "proa.local/python"
COMMAND = ("python3", "-m", "proa.ml.tuning.collector")


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """A volume that an algorithm shares with its trials (pbt): the setting `suggestion_trial_dir` says where."""

    claim: str
    mount_path: str
    sub_path: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How the collector is run, and what its pods get besides.

    `image` has Python and Proa in it. `resources` are katib-config's for the trial's collector kind. `runtime` is the
    (Cluster)TrainingRuntime that a TrainJob names (see `trainjob.runtime_named`), None for other kinds.
    """

    image: str = HOST_IMAGE
    command: tuple[str, ...] = COMMAND
    image_pull_policy: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Checkpoints | None = None
    runtime: Mapping[str, Any] | None = None
