"""Fill in what a runtime's container leaves open: {{.Name}}, {{.Namespace}}, {{.Labels.x}}, {{index .Annotations "x"}}.

Pure. KServe runs Go's text/template over the container as JSON, with the InferenceService's metadata; these are the
actions that its runtimes have. What else stands between double braces is refused, as a template that does not parse is.
Source: ReplacePlaceholders of pkg/controller/v1beta1/inferenceservice/utils/utils.go of KServe.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_FIELD = re.compile(r"\.(Name|Namespace|UID|GenerateName)")
_ENTRY = re.compile(r"\.(Labels|Annotations)\.(\w+)")
_INDEX = re.compile(r"index\s+\.(Labels|Annotations)\s+[\"`]([^\"`]+)[\"`]")
_FIELDS: dict[str, Callable[[Object], str]] = {
    "Name": meta.name,
    "Namespace": meta.namespace,
    "UID": meta.uid,
    "GenerateName": lambda obj: str((obj.get("metadata") or {}).get("generateName") or ""),
}


class BadPlaceholder(Exception):
    """Something between double braces is none of the actions that can be."""


def fill(value: Any, isvc: Object) -> Any:
    """Return a JSON value with its placeholders filled; raise BadPlaceholder."""
    if isinstance(value, str):
        return _ACTION.sub(lambda found: _value_of(found[1], isvc), value) if "{{" in value else value
    if isinstance(value, dict):
        return {fill(key, isvc): fill(item, isvc) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, isvc) for item in value]
    return value


def _value_of(action: str, isvc: Object) -> str:
    if field := _FIELD.fullmatch(action):
        return _FIELDS[field[1]](isvc)
    if entry := _ENTRY.fullmatch(action) or _INDEX.fullmatch(action):
        entries = meta.labels(isvc) if entry[1] == "Labels" else meta.annotations(isvc)
        return entries.get(entry[2], "")
    raise BadPlaceholder(
        f"{{{{{action}}}}} is not known: there are {{{{.Name}}}}, {{{{.Namespace}}}}, {{{{.UID}}}}, "
        "{{.Labels.KEY}}, {{.Annotations.KEY}} and {{index .Labels `KEY`}}"
    )
