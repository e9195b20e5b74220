"""Ask an algorithm that is a service of its own, by Katib's gRPC, as the built-in ones are asked.

One remote advisor is of one experiment. Source: pkg/controller.v1beta1/suggestion/suggestionclient/suggestionclient.go
of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from proa.ml.grpc.channel import Dial, call
from proa.ml.grpc.codec import Message
from proa.ml.grpc.status import CallFailed, Code
from proa.ml.tuning.algorithms.errors import AlgorithmFailed, SuggestionError, WorkerLost
from proa.ml.tuning.grpc.messages import EARLY_STOPPING, KATIB, SUGGESTION
from proa.ml.tuning.grpc.studies import (
    make_early_stopping,
    make_experiment,
    make_trials,
    read_rules,
    read_suggestions,
)
from proa.ml.tuning.kinds import DB_MANAGER, DB_MANAGER_PORT, NAMESPACE
from proa.ml.tuning.records import MetricPoint, Problem, Rule, Study, Suggestions
from proa.objects.quick_dataclass import dataclass

CALL_SECONDS = 60.0
_LATER = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
_BAD_SETTINGS = (Code.INVALID_ARGUMENT, Code.UNKNOWN)


@dataclass(frozen=True, slots=True)
class RemoteExperiment:
    """What services are told of an experiment that no study has."""

    name: str
    early_stopping: Mapping[str, Any] | None = None
    """spec.earlyStopping."""
    nas: Mapping[str, Any] | None = None
    """spec.nasConfig."""
    times: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """When trials started and ended, by their names."""


class RemoteAdvisor:
    """See `operator.parts.Advisor`; `address` is a host and port, one for suggestions and one for early stopping."""

    def __init__(
        self,
        dial: Dial,
        experiment: RemoteExperiment,
        suggestion: tuple[str, int],
        early_stopping: tuple[str, int],
    ) -> None:
        self._dial = dial
        self._experiment = experiment
        self._suggestion = suggestion
        self._early_stopping = early_stopping

    async def check(self, algorithm: str, study: Study) -> Sequence[Problem]:
        """Return what the service says is wrong."""
        message = {"experiment": self._say(study, algorithm)}
        path = f"/{SUGGESTION}/ValidateAlgorithmSettings"
        return await self._check(self._suggestion, path, message, "spec.algorithm")

    async def suggest(self, algorithm: str, study: Study, count: int) -> Suggestions:
        """Return up to `count` suggestions."""
        message = {
            "experiment": self._say(study, algorithm),
            "trials": make_trials(study, self._experiment.times),
            "current_request_number": count,
            "total_request_number": len(study.trials) + count,
        }
        reply = await self._call(self._suggestion, f"/{SUGGESTION}/GetSuggestions", message)
        try:
            return read_suggestions(reply, study, count)
        except CallFailed as error:
            raise AlgorithmFailed(f"algorithm {algorithm}: {error.message}") from None

    async def check_early_stopping(self, algorithm: str, settings: Mapping[str, str]) -> Sequence[Problem]:
        """Return what the service says is wrong."""
        message = {
            "early_stopping": make_early_stopping(
                self._experiment.early_stopping or {"algorithmName": algorithm}
            )
        }
        path = f"/{EARLY_STOPPING}/ValidateEarlyStoppingSettings"
        return await self._check(self._early_stopping, path, message, "spec.earlyStopping")

    async def rules(
        self,
        algorithm: str,
        study: Study,
        settings: Mapping[str, str],
        points: Mapping[str, Sequence[MetricPoint]],
    ) -> Sequence[Rule]:
        """Return the rules for a trial that is about to start; the service reads points from the DBManager."""
        message = {
            "experiment": self._say(study, algorithm),
            "trials": make_trials(study, self._experiment.times),
            "db_manager_address": f"{DB_MANAGER}.{NAMESPACE}:{DB_MANAGER_PORT}",
        }
        return read_rules(
            await self._call(self._early_stopping, f"/{EARLY_STOPPING}/GetEarlyStoppingRules", message)
        )

    def _say(self, study: Study, algorithm: str) -> Message:
        told = self._experiment
        return make_experiment(told.name, study, algorithm, told.early_stopping, told.nas)

    async def _check(
        self, address: tuple[str, int], path: str, message: Message, field: str
    ) -> list[Problem]:
        try:
            await call(KATIB, self._dial, address, path, message, CALL_SECONDS)
        except CallFailed as error:
            if error.code in _BAD_SETTINGS:
                return [Problem(field, error.message)]
            if error.code is not Code.UNIMPLEMENTED:  # it need not have an opinion
                raise _explain(error) from None
        return []

    async def _call(self, address: tuple[str, int], path: str, message: Message) -> Message:
        try:
            return await call(KATIB, self._dial, address, path, message, CALL_SECONDS)
        except CallFailed as error:
            raise _explain(error) from None


def _explain(error: CallFailed) -> SuggestionError:
    words = f"the algorithm's service: {error}"
    return WorkerLost(words) if error.code in _LATER else AlgorithmFailed(words)
