"""Make a trial's run of its experiment's template: the same object, with values in the place of placeholders.

A placeholder is `${trialParameters.NAME}` within any text of the template. What NAME stands for, the template's
trialParameters say: the value of a parameter, or what is known of the trial (`${trialSpec.Name}`, Namespace, Kind,
APIVersion, `Labels[KEY]` and `Annotations[KEY]` of the template). Values are put into texts of the object, not into its
JSON: whatever is in them, the rest of the run stays as its author wrote it.
Source: pkg/controller.v1beta1/experiment/manifest/generator.go of kubeflow/katib.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from proa.client.protocol import Object
from proa.ml.tuning.records import Problem
from proa.ml.tuning.spec.template_text import PLACEHOLDER, Bare, read_template
from proa.objects import meta

TEMPLATE = "spec.trialTemplate"
PARAMETERS = f"{TEMPLATE}.trialParameters"
MAX_RUN_BYTES = 1536 * 1024
"""Of values that are put in: more than an object may have."""
OF_TRIAL = ("Name", "Namespace", "Kind", "APIVersion", "Annotations", "Labels")
_REFERENCE = re.compile(r"\$\{trialSpec\.([^\[\]{}]+)(?:\[(.+)\])?\}")
_NUMBER = re.compile(r"[-+]?([0-9]+)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?", re.ASCII)
_MAX_NUMBER_LENGTH = 300


class _TooLong(Exception):
    """The run would be larger than an object may be."""


def load_template(experiment: Object, text: str | None = None) -> Object | Problem:
    """Return an experiment's template; `text` is the ConfigMap's, where the template stands in one."""
    template = experiment["spec"]["trialTemplate"]
    if (inline := template.get("trialSpec")) is not None:
        return inline if isinstance(inline, dict) else Problem(f"{TEMPLATE}.trialSpec", "must be an object")
    field = f"{TEMPLATE}.configMap"
    try:
        found = read_template(text or "")
    except ValueError as error:
        return Problem(field, f"unable to convert spec.trialTemplate to unstructured: {error}")
    if not isinstance(found, dict):
        return Problem(field, f"must be an object with apiVersion and kind, not {_kind_of(found)}")
    return found


def render_run(experiment: Object, assignment: Object, text: str | None = None) -> Object | Problem:
    """Return the run of one of a Suggestion's assignments, named as its trial.

    `text` is what the ConfigMap has at the template's path, None where the template stands in the experiment.
    """
    template = load_template(experiment, text)
    if isinstance(template, Problem):
        return template
    said = experiment["spec"]["trialTemplate"].get("trialParameters") or ()
    values = {pair["name"]: pair.get("value", "") for pair in assignment.get("parameterAssignments") or ()}
    name, namespace = assignment["name"], meta.namespace(experiment)
    put: dict[str, str] = {}
    for index, parameter in enumerate(said):
        found = _value(parameter["reference"], values, template, name, namespace)
        if found is None:
            return Problem(
                f"{PARAMETERS}[{index}].reference", unknown_reference(parameter["reference"], values)
            )
        put[parameter["name"]] = found
    unused = values.keys() - {parameter["reference"] for parameter in said}
    if unused:
        return Problem(
            PARAMETERS, f"no reference to {', '.join(sorted(unused))}, which the algorithm has assigned"
        )
    return _make_run(template, put, name, namespace)


def _make_run(template: Object, values: Mapping[str, str], name: str, namespace: str) -> Object | Problem:
    try:
        run = _Filling(values).fill(template)
    except _TooLong:
        return Problem(TEMPLATE, f"more than {MAX_RUN_BYTES} bytes of values are put into it")
    except KeyError as missing:
        return Problem(
            TEMPLATE, f"has ${{trialParameters.{missing.args[0]}}}, which is not in trialParameters"
        )
    metadata = run.get("metadata") or {}
    if not isinstance(metadata, dict):
        return Problem(TEMPLATE, "metadata must be an object")
    return {**run, "metadata": {**metadata, "name": name, "namespace": namespace}}


def _value(
    reference: str, values: Mapping[str, str], template: Object, name: str, namespace: str
) -> str | None:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return values.get(reference)
    metadata = template.get("metadata") or {}
    match match[1], match[2]:
        case "Name", None:
            return name
        case "Namespace", None:
            return namespace
        case "Kind", None:
            return str(template.get("kind", ""))
        case "APIVersion", None:
            return str(template.get("apiVersion", ""))
        case "Annotations" | "Labels" as field, str(key):
            found = (metadata.get(field.lower()) or {}).get(key)
            return found if isinstance(found, str) else None
    return None


def is_of_trial(reference: str) -> bool:
    """Tell whether a reference is to the trial, and to no parameter."""
    return "${trialSpec." in reference


def is_known(reference: str, template: Object) -> bool:
    """Tell whether what a reference says of the trial is known."""
    return _value(reference, {}, template, "", "") is not None


def unknown_reference(reference: str, values: Mapping[str, str]) -> str:
    """Return what to say of a reference to nothing."""
    if not is_of_trial(reference):
        return f"{reference} is no parameter that is assigned: {', '.join(values) or 'there are none'}"
    words = ", ".join(f"${{trialSpec.{word}}}" for word in OF_TRIAL[:4])
    return (
        f"illegal reference of trial metadata: {reference}; it may be {words}, or ${{trialSpec.Labels[KEY]}} and "
        "${trialSpec.Annotations[KEY]} of what the template's metadata has"
    )


def placeholders(value: Any) -> Iterator[str]:
    """Return the names of all placeholders of a template, in order, as often as they occur."""
    if isinstance(value, str):
        yield from (match[1] for match in PLACEHOLDER.finditer(value))
    elif isinstance(value, list):
        for item in value:
            yield from placeholders(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from placeholders(key)
            yield from placeholders(item)


class _Filling:
    """Puts values in; raises KeyError for a name without one."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._left = MAX_RUN_BYTES

    def fill(self, value: Any) -> Any:
        if isinstance(value, str):
            filled = PLACEHOLDER.sub(self._put, value)
            return as_scalar(filled) if isinstance(value, Bare) else filled
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {PLACEHOLDER.sub(self._put, key): self.fill(item) for key, item in value.items()}
        return value

    def _put(self, match: re.Match[str]) -> str:
        value = self._values[match[1]]
        self._left -= len(value)
        if self._left < 0:
            raise _TooLong
        return value


def as_scalar(text: str) -> str | int | float | bool:
    """Return what YAML without quotes takes a value for: a number or a boolean where it looks like one."""
    if text in ("true", "false"):
        return text == "true"
    match = _NUMBER.fullmatch(text) if len(text) < _MAX_NUMBER_LENGTH else None
    if match is None:
        return text
    return int(text) if match[1] and not match[2] and not match[3] else float(text)


def _kind_of(value: Any) -> str:
    return {type(None): "nothing", str: "a text", list: "a list"}.get(type(value), "a number")
