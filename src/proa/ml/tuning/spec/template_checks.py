"""Say what is wrong with a trial's template: its conditions, and placeholders that nothing is put in, or the reverse.

Source: validateTrialTemplate in pkg/webhook/v1beta1/experiment/validator/validator.go of kubeflow/katib. References to
what the template's metadata does not have are found there with the first trial.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.client.protocol import Object
from proa.ml.tuning.records import Problem
from proa.ml.tuning.spec.run_conditions import check_condition
from proa.ml.tuning.spec.template import (
    PARAMETERS,
    TEMPLATE,
    is_known,
    is_of_trial,
    load_template,
    placeholders,
    unknown_reference,
)


def check_template(experiment: Object, text: str | None) -> Iterator[Problem]:
    """Return what is wrong with the template of an experiment that has its defaults and is as its definition says."""
    said = experiment["spec"]["trialTemplate"]
    for field in ("successCondition", "failureCondition"):
        yield from check_condition(said[field], f"{TEMPLATE}.{field}")
    if "configMap" in said and text is None:
        return
    template = load_template(experiment, text)
    if isinstance(template, Problem):
        yield template
        return
    yield from _check_object(template)
    yield from _check_placeholders(said["trialParameters"], template)


def _check_object(template: Object) -> Iterator[Problem]:
    if not all(isinstance(template.get(field), str) and template[field] for field in ("apiVersion", "kind")):
        yield Problem(TEMPLATE, "APIVersion and Kind in spec.trialTemplate must be specified")
    metadata = template.get("metadata") or {}
    if not isinstance(metadata, dict):
        yield Problem(TEMPLATE, "metadata in spec.trialTemplate must be an object")
    elif metadata.get("name") or metadata.get("namespace"):
        words = "metadata.name and metadata.namespace in spec.trialTemplate must be omitted"
        yield Problem(TEMPLATE, words)


def _check_placeholders(parameters: list[Object], template: Object) -> Iterator[Problem]:
    there = set(placeholders(template))
    for index, parameter in enumerate(parameters):
        name, reference = parameter["name"], parameter["reference"]
        if name not in there:
            words = f"parameter name: {name} in spec.trialParameters not found in spec.trialTemplate"
            yield Problem(f"{PARAMETERS}[{index}].name", f"{words}: write ${{trialParameters.{name}}} in it")
        if is_of_trial(reference) and not is_known(reference, template):
            yield Problem(f"{PARAMETERS}[{index}].reference", unknown_reference(reference, {}))
    if unknown := there - {parameter["name"] for parameter in parameters}:
        names = ", ".join(sorted(unknown))
        words = f"parameters: {names} in spec.trialTemplate not found in spec.trialParameters"
        yield Problem(TEMPLATE, words)
