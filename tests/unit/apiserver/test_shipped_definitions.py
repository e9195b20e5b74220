"""The kinds that come with Proa: each definition is valid, and a cluster knows it without judging it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from proa.apiserver.custom_resources.shipped import create_missing
from proa.ml.pipelines.operator.resources import DEFINITION as RUNS
from proa.ml.training.component import make_parts as make_training
from proa.ml.tuning.component import TuningSettings
from proa.ml.tuning.component import make_parts as make_tuning

FILES = [file for part in [*make_tuning(TuningSettings("")), *make_training()] for file in part.definitions]
PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.mark.parametrize("file", [*FILES, RUNS], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_each_is_valid_and_stored_as_if_it_had_been_judged(api, file: Path):
    judged = api.post(PATH, file.read_bytes())
    assert (judged.status, judged.headers.get("Warning")) == (201, None), judged.raw
    name = judged.json["metadata"]["name"]
    other = type(api)()
    assert asyncio.run(create_missing(other.server.catalog, [file])) == []
    assert told(other.get(f"{PATH}/{name}").json) == told(judged.json)


def told(definition: dict[str, Any]) -> dict[str, Any]:
    """Return what does not differ from one creation to the next."""
    once = ("uid", "resourceVersion", "creationTimestamp", "managedFields")
    metadata = {key: value for key, value in definition["metadata"].items() if key not in once}
    return {**definition, "metadata": metadata}


def test_one_that_differs_is_left_to_who_knows_what_to_do(api, tmp_path: Path):
    files = [write(tmp_path, "as.example.com", "As"), write(tmp_path, "bs.example.com", "Bs")]
    assert asyncio.run(create_missing(api.server.catalog, files)) == []
    assert asyncio.run(create_missing(api.server.catalog, files)) == []
    assert api.get("/apis/example.com/v1/as").json["kind"] == "AsList"
    newer = write(tmp_path, "as.example.com", "Other")
    assert asyncio.run(create_missing(api.server.catalog, [newer, files[1]])) == [newer]
    assert api.get(f"{PATH}/as.example.com").json["spec"]["names"]["kind"] == "As"


def write(folder: Path, name: str, kind: str) -> Path:
    plural, _, group = name.partition(".")
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
    }
    names = {"plural": plural, "kind": kind}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    file = folder / f"{name}.yaml"
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    file.write_bytes(orjson.dumps({**definition, "metadata": {"name": name}}))
    return file
