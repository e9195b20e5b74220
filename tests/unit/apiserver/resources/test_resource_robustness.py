"""Whatever a schema allows, defaulting, validating and printing it answer; they never fail."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from proa.apiserver.handlers.shapes import cells_of
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources import DEFINITIONS
from proa.objects.schemas.check import check
from proa.objects.schemas.load import schema_named
from proa.objects.schemas.schema import Schema

Object = dict[str, Any]
WORDS = (
    "", "a", "a-b", "A b", "1", "10.0.0.1", "::1", "None", "Always", "Never", "ClusterIP", "NodePort", "ExternalName",
    "In", "Exists", "Recreate", "RollingUpdate", "Indexed", "TCP", "IPv4", "50%", "x/y", "..", "/", "latest", "a:b",
    "kubernetes.io/tls", "metadata.name", "requests.cpu", "cpu", "storage",
)  # fmt: skip
NUMBERS = (-1, 0, 1, 2, 80, 100, 70000, 2**31 - 1)
QUANTITIES = ("-1", "0", "1", "100m", "1Gi", "1.5", "1e3")
SEEDS = 40


def make_value(schema: Schema, random: random.Random, depth: int) -> Any:
    """Return a value that the schema allows; the deeper, the emptier."""
    if schema.object_form is not None:
        return make_value(schema.object_form, random, depth + 1)
    if schema.type == "object":
        if schema.values is not None:
            return {
                random.choice(WORDS): make_value(schema.values, random, depth + 1)
                for _ in range(random.randint(0, 2))
            }
        if depth > 9:
            return {}
        chance = (1.0, 0.8, 0.6, 0.45, 0.4)[min(depth, 4)]
        return {
            key: make_value(node, random, depth + 1)
            for key, node in schema.properties.items()
            if random.random() < chance and key not in ("managedFields", "ownerReferences")
        }
    if schema.type == "array":
        assert schema.items is not None
        return [make_value(schema.items, random, depth + 1) for _ in range(random.randint(0, 2))]
    if schema.format == "date-time":
        return random.choice(("2026-01-02T03:04:05Z", None)) if "Micro" not in schema.name else None
    if schema.format == "byte":
        return random.choice(("", "AA==", "eyJhIjoxfQ=="))
    return {
        "string": lambda: random.choice(WORDS),
        "integer": lambda: random.choice(NUMBERS),
        "number": lambda: random.random(),
        "boolean": lambda: random.random() < 0.5,
        "quantity": lambda: random.choice(QUANTITIES),
        "int-or-string": lambda: random.choice((*NUMBERS, *WORDS)),
        "any": lambda: random.choice(WORDS),
    }[schema.type]()


def make_object(definition: ResourceDefinition, seed: int) -> Object:
    schema = schema_named(definition.schema)
    obj: Object = make_value(schema, random.Random(seed), 0)
    obj["apiVersion"], obj["kind"] = definition.resource.api_version, definition.resource.kind
    metadata = obj["metadata"] = {"name": "x", "namespace": "n", "uid": "u"}
    return {**check(obj, schema).obj, "metadata": metadata}


def create(definition: ResourceDefinition, seed: int, kinds: Any) -> Object:
    new = make_object(definition, seed)
    status = new.get("status")
    definition.default(new)
    definition.prepare_create(new)
    if definition.allocate is not None:
        asyncio.run(definition.allocate(new, None, kinds.HandsOut()))
    if status is not None:
        new["status"] = status
    return new


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.resource.qualified_name)
def test_no_object_that_the_schema_allows_is_too_strange(definition: ResourceDefinition, kinds: Any) -> None:
    old: Object | None = None
    for seed in range(SEEDS):
        new = create(definition, seed, kinds)
        definition.validate(new)
        assert len(cells_of(definition, new, 1e9)) == len(definition.columns)
        for read in definition.field_selectors.values():
            read(new)
        if old is not None:
            definition.prepare_update(new, old)
            definition.prepare_status_update(new, old)
            definition.validate_update(new, old)
            definition.validate_status_update(new, old)
        if definition.holds is not None:
            definition.holds(new).claims()
        old = new


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.resource.qualified_name)
def test_defaulting_what_is_defaulted_changes_nothing(definition: ResourceDefinition) -> None:
    for seed in range(SEEDS):
        once = make_object(definition, seed)
        definition.default(once)
        twice = check({**once}, schema_named(definition.schema)).obj
        definition.default(twice)
        assert twice == once


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.resource.qualified_name)
def test_defaults_are_what_the_schema_allows(definition: ResourceDefinition) -> None:
    for seed in range(SEEDS):
        new = make_object(definition, seed)
        definition.default(new)
        assert not check(new, schema_named(definition.schema), "Warn").warnings
