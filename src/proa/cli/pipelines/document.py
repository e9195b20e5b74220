"""Read a compiled pipeline for the command line: what it is called, which parameters it takes, and values for them.

A compiled pipeline is a YAML file of one document, or of two where it has platform settings (kfp's compiler writes
both). Whether it can be run is the server's to say; here only what is needed to ask for a run is looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proa.cli import Failure, UsageError
from proa.objects.quick_dataclass import dataclass

Json = dict[str, Any]
MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """A pipeline's file: the PipelineSpec, and the platform document, {} for none."""

    spec: Json
    platform: Json

    @property
    def name(self) -> str:
        """Return the pipeline's name."""
        return str((self.spec.get("pipelineInfo") or {}).get("name") or "pipeline")

    @property
    def whole(self) -> Json:
        """Return what a run's `pipeline_spec` is: kfp.Client sends the same."""
        return {"pipeline_spec": self.spec, "platform_spec": self.platform} if self.platform else self.spec


def read_document(path: str) -> Document:
    """Return the pipeline in a file; raise Failure where it is none."""
    import yaml

    data = Path(path).read_bytes()
    if len(data) > MAX_BYTES:
        raise Failure(f"{path}: {len(data)} bytes; a compiled pipeline has {MAX_BYTES} at most")
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        parts = [part for part in yaml.load_all(data, loader) if part is not None]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise Failure(f"{path}{where}: is not YAML: {getattr(error, 'problem', None) or error}") from None
    return make_document(path, parts)


def make_document(path: str, parts: Sequence[Any]) -> Document:
    """Return the pipeline that a file's documents are."""
    if any(isinstance(part, dict) and part.get("kind") == "Workflow" for part in parts):
        raise Failure(f"{path}: is an Argo Workflow, of kfp 1.x; compile the pipeline again with kfp 2")
    specs = [part for part in parts if isinstance(part, dict) and "root" in part]
    platforms = [part for part in parts if isinstance(part, dict) and "platforms" in part]
    if len(specs) != 1 or len(platforms) > 1 or len(specs) + len(platforms) != len(parts):
        raise Failure(
            f"{path}: is no compiled pipeline (no document with a `root`); make one with"
            " `kfp dsl compile --py pipeline.py --output pipeline.yaml`"
        )
    return Document(specs[0], platforms[0] if platforms else {})


def declared_parameters(spec: Mapping[str, Any]) -> dict[str, Json]:
    """Return the pipeline's parameters by name, as its root declares them."""
    inputs = (spec.get("root") or {}).get("inputDefinitions") or {}
    return dict(inputs.get("parameters") or {})


def parse_parameters(spec: Mapping[str, Any], given: Sequence[str]) -> Json:
    """Return the values of `-p NAME=VALUE`, each of its declared type; raise UsageError."""
    declared, values = declared_parameters(spec), {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"-p {text}: NAME=VALUE, as -p epochs=3")
        if name not in declared:
            raise UsageError(f"-p {name}: there is no such parameter; {_known(declared)}")
        if name in values:
            raise UsageError(f"-p {name}: given twice")
        values[name] = parse_value(name, value, str(declared[name].get("parameterType") or ""))
    missing = [name for name, one in declared.items() if _is_needed(one) and name not in values]
    if missing:
        words = ", ".join(f"-p {name}=<{type_word(declared[name])}>" for name in missing)
        raise UsageError(f"the pipeline needs {words}")
    return values


def _is_needed(declared: Mapping[str, Any]) -> bool:
    return "defaultValue" not in declared and not declared.get("isOptional")


def _known(declared: Mapping[str, Json]) -> str:
    if not declared:
        return "the pipeline takes none"
    return "there are " + ", ".join(f"{name} ({type_word(one)})" for name, one in sorted(declared.items()))


def type_word(declared: Mapping[str, Any]) -> str:
    """Return a parameter's type for people: "number", "list"."""
    return _WORDS.get(str(declared.get("parameterType")), "text")


_WORDS = {
    "NUMBER_DOUBLE": "number",
    "NUMBER_INTEGER": "integer",
    "BOOLEAN": "true or false",
    "LIST": "JSON list",
    "STRUCT": "JSON object",
}
_TRUTHS = {"true": True, "True": True, "false": False, "False": False}


def parse_value(name: str, text: str, type_name: str) -> Any:
    """Return a text as a value of a parameter's type; raise UsageError."""
    try:
        if type_name == "NUMBER_INTEGER":
            return int(text)
        if type_name == "NUMBER_DOUBLE":
            number = float(text)
            if not math.isfinite(number):
                raise ValueError
            return number
        if type_name == "BOOLEAN":
            return _TRUTHS[text]
        if type_name in ("LIST", "STRUCT"):
            value = json.loads(text)
            if not isinstance(value, list if type_name == "LIST" else dict):
                raise ValueError
            return value
    except (ValueError, KeyError):
        example = {"LIST": " as [1, 2]", "STRUCT": ' as {"a": 1}'}.get(type_name, "")
        wanted = f"{_WORDS[type_name]}{example}"
        raise UsageError(f"-p {name}={text}: {name} is of type {type_name}: {wanted}") from None
    return text


def with_caching(spec: Json, is_enabled: bool) -> Json:
    """Return the spec with the caching of every task on or off."""
    components = {
        name: _with_caching(found, is_enabled) for name, found in spec.get("components", {}).items()
    }
    return {**spec, "components": components, "root": _with_caching(spec.get("root") or {}, is_enabled)}


def _with_caching(component: Json, is_enabled: bool) -> Json:
    dag = component.get("dag")
    if not dag:
        return component
    tasks = {
        name: {**task, "cachingOptions": {**(task.get("cachingOptions") or {}), "enableCache": is_enabled}}
        for name, task in (dag.get("tasks") or {}).items()
    }
    return {**component, "dag": {**dag, "tasks": tasks}}
