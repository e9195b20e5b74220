"""What the three reconcilers share: who is asked for suggestions, where points are kept, and what is settable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from proa.ml.grpc.channel import Dial
from proa.ml.tuning.injection.settings import HOST_IMAGE
from proa.ml.tuning.observations.observations import Observations
from proa.ml.tuning.records import MetricPoint, Problem, Rule, Study, Suggestions
from proa.objects.quick_dataclass import dataclass

ACCOUNT = "tuning-operator"
ROLE_LABEL = "rbac.authorization.k8s.io/aggregate-to-tuning-operator"
"""Of ClusterRoles: what the operator may do with kinds of runs beyond those that are built in."""
DEADLINE_ANNOTATION = "tuning.proa.dev/start-deadline-seconds"
"""Of an Experiment: how long a trial that cannot start may keep the experiment from moving."""


class Advisor(Protocol):
    """Whoever runs algorithms (`algorithms.suggestion_worker.SuggestionWorker`); all raise SuggestionError."""

    async def check(self, algorithm: str, study: Study) -> Sequence[Problem]:
        """Return what is wrong with the algorithm's settings, or the search space for it."""

    async def suggest(self, algorithm: str, study: Study, count: int) -> Suggestions:
        """Return up to `count` suggestions."""

    async def check_early_stopping(self, algorithm: str, settings: Mapping[str, str]) -> Sequence[Problem]:
        """Return what is wrong with an early-stopping algorithm's settings."""

    async def rules(
        self,
        algorithm: str,
        study: Study,
        settings: Mapping[str, str],
        points: Mapping[str, Sequence[MetricPoint]],
    ) -> Sequence[Rule]:
        """Return the rules for a trial that is about to start."""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What is settable. `image` has Python and Proa: collectors run in it."""

    image: str = HOST_IMAGE
    start_deadline_seconds: float = 600.0
    quiet_seconds: float = 30.0
    """How long a run may be without a pod that runs before its trial says that it is stuck."""
    report_seconds: float = 60.0
    """How long a trial's metrics may come after its run has ended: a pod has 30 s to end, and a node to say so."""
    create_at_once: int = 16
    """How many trials of an experiment are made at the same time."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is passed in."""

    advisor: Advisor
    observations: Observations
    settings: OperatorSettings = field(default_factory=OperatorSettings)
    dial: Dial = asyncio.open_connection
    """Reaches Services of the cluster: algorithms that are not built in."""
