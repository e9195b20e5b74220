"""A definition that was stored and cannot be served anymore keeps no server from starting, and nothing else from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS

KEY = "/registry/apiextensions.k8s.io/customresourcedefinitions/wells.x.example"
DEFINITION_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION = {
    "metadata": {"name": "wells.x.example"},
    "spec": {
        "group": "x.example",
        "scope": "Namespaced",
        "names": {"plural": "wells", "kind": "Well"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


def with_schema(**schema: Any) -> Callable[[Any], None]:
    def damage(definition: Any) -> None:
        definition["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": {"type": "object", **schema}}

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        with_schema(properties={"a": {"type": "string", "pattern": "((("}}),
        with_schema(**{"x-kubernetes-validations": [{"rule": "self.nope +"}]}),
        with_schema(type="banana"),
        lambda definition: definition["spec"]["versions"][0].pop("schema"),
        lambda definition: definition["spec"].update(versions=[]),
        lambda definition: definition["spec"].pop("names"),
        lambda definition: definition.pop("spec"),
    ],
    ids=["pattern", "rule", "type", "no schema", "no versions", "no names", "no spec"],
)
def test_the_server_starts_and_the_definition_can_be_deleted(api: Any, damage: Callable[[Any], None]) -> None:
    assert api.post(DEFINITION_PATH, DEFINITION).status == 201
    well = {"apiVersion": "x.example/v1", "kind": "Well", "metadata": {"name": "a"}}
    assert api.post("/apis/x.example/v1/namespaces/default/wells", well).status == 201
    entry = api.store.get(KEY)
    definition = orjson.loads(entry.value)
    damage(definition)
    asyncio.run(
        api.store.put(KEY, lambda revision: orjson.dumps(definition), expected_revision=entry.revision)
    )

    api.server = ApiServer(api.store, DEFINITIONS)

    assert api.get("/api/v1/namespaces/default").status == 200
    assert api.get("/openapi/v2").status == 200
    assert api.get(DEFINITION_PATH).status == 200
    assert api.delete(f"{DEFINITION_PATH}/wells.x.example").status == 200
