"""Say what an InferenceService means: with its defaults, the runtime of its model, or why it cannot be served. Pure.

Source: reconcileModel of pkg/controller/v1beta1/inferenceservice/components/predictor.go of KServe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import PREDICTOR
from proa.ml.serving.revisions.words import CannotMake
from proa.ml.serving.spec.checks import check
from proa.ml.serving.spec.defaults import with_defaults
from proa.ml.serving.spec.runtime_defaults import with_runtime
from proa.ml.serving.spec.selection import NotServed, select_runtime
from proa.objects import meta

NAME_FIELDS = ("servingRuntimeName", "clusterServingRuntimeName")


class Chosen(NamedTuple):
    """An InferenceService with its defaults, and the runtime of its model, or why it cannot be served."""

    isvc: Object
    runtime: Object | None = None
    refusal: CannotMake | None = None

    @property
    def names(self) -> Mapping[str, str]:
        """Return the status field that names the runtime."""
        if self.runtime is None:
            return {}
        return {NAME_FIELDS[0 if meta.namespace(self.runtime) else 1]: meta.name(self.runtime)}

    @property
    def absent_names(self) -> Iterable[str]:
        """Return which status fields name no runtime now."""
        return () if self.refusal else [field for field in NAME_FIELDS if field not in self.names]


def choose(
    isvc: Object,
    mode: str,
    runtimes: Sequence[Object],
    cluster_runtimes: Sequence[Object],
    resources: Mapping[str, Mapping[str, str]],
) -> Chosen:
    """Return the InferenceService as it is meant, with its runtime; `resources` are those of users' own containers."""
    meant = with_defaults(isvc, resources)
    if problems := check(meant, mode):
        return Chosen(meant, refusal=CannotMake("; ".join(str(problem) for problem in problems)))
    return choose_for(meant, runtimes, cluster_runtimes)


def choose_for(meant: Object, runtimes: Sequence[Object], cluster_runtimes: Sequence[Object]) -> Chosen:
    """Return an InferenceService that has its defaults with the runtime of its predictor's model."""
    predictor = meant["spec"][PREDICTOR]
    if "model" not in predictor:
        return Chosen(meant)
    try:
        selected = select_runtime(predictor, runtimes, cluster_runtimes)
    except NotServed as error:
        return Chosen(meant, refusal=CannotMake(error.words, error.reason, error.message))
    return Chosen(with_runtime(meant, selected), selected.runtime)
