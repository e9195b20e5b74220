"""Say what is wrong with an experiment before anything is made of it, field by field, and what would work.

First what its definition says, schema and rules: where the cluster's definition is ours, the API server has asked that
already. Then what a rule cannot tell: whether conditions and filters can be read, and the template's placeholders. So
all is refused that upstream's webhook refuses, and what leads there to trials that never end.
Source: pkg/webhook/v1beta1/experiment/validator/validator.go of kubeflow/katib.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import orjson

from proa.client.protocol import Object
from proa.ml.tuning.records import Problem
from proa.ml.tuning.spec.defaults import with_defaults
from proa.ml.tuning.spec.definitions import EXPERIMENTS_FILE
from proa.ml.tuning.spec.template_checks import check_template
from proa.objects.structural.kind import CustomKind
from proa.objects.structural.node import ABSENT

FILTERS = "spec.metricsCollectorSpec.source.filter.metricsFormat"


def check_experiment(experiment: Object, text: str | None = None) -> list[Problem]:
    """Return what is wrong, nothing for a good one.

    `text` is what the template's ConfigMap has at its path; None where the template stands in the experiment, or is not
    to be looked at. Whether the algorithms are known, and like their settings, is theirs to say.
    """
    problems = _check_definition(experiment)
    if problems:
        return problems
    filled = with_defaults(experiment)
    return [
        *_check_strategies(filled["spec"]["objective"]),
        *_check_network(filled["spec"]),
        *_check_filters(filled["spec"]["metricsCollectorSpec"]),
        *check_template(filled, text),
    ]


def _check_definition(experiment: Object) -> list[Problem]:
    kind = _load_kind()
    copy = orjson.loads(orjson.dumps({key: value for key, value in experiment.items() if key != "status"}))
    kind.default(copy)
    causes = kind.validate(copy, lambda metadata, path: [])
    causes += kind.check_rules(copy, ABSENT, causes, lambda warning: None)
    return [Problem(cause.field, cause.message) for cause in causes if cause.field != "<nil>"]


@functools.cache
def _load_kind() -> CustomKind:
    def load() -> Object:
        (version,) = orjson.loads(EXPERIMENTS_FILE.read_bytes())["spec"]["versions"]
        schema: Object = version["schema"]["openAPIV3Schema"]
        return schema

    return CustomKind(load)


def _check_strategies(objective: Object) -> Iterator[Problem]:
    metrics = [objective["objectiveMetricName"], *(objective.get("additionalMetricNames") or ())]
    for index, strategy in enumerate(objective["metricStrategies"]):
        if strategy["name"] not in metrics:
            words = f"{strategy['name']} is no metric of spec.objective: {', '.join(metrics)}"
            yield Problem(f"spec.objective.metricStrategies[{index}].name", words)


def _check_network(spec: Object) -> Iterator[Problem]:
    network = spec.get("nasConfig")
    if network is not None and not network.get("operations"):
        yield Problem("spec.nasConfig.operations", "must have an operation at least")


def _check_filters(collection: Object) -> Iterator[Problem]:
    formats = ((collection.get("source") or {}).get("filter") or {}).get("metricsFormat") or ()
    for index, text in enumerate(formats):
        try:
            groups = re.compile(text).groups
        except (re.error, RecursionError, OverflowError) as error:
            yield Problem(f"{FILTERS}[{index}]", f"invalid filter: {error}")
            continue
        if groups < 2:
            words = "two top subexpressions are required: a metric's name, and its value"
            yield Problem(f"{FILTERS}[{index}]", words)
