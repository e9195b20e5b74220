"""What the tests of kinds share: a way to put an object through its definition as the registry does."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources import DEFINITIONS
from proa.objects.schemas.check import check
from proa.objects.schemas.load import schema_named

Object = dict[str, Any]


def definition_of(kind: str) -> ResourceDefinition:
    return next(d for d in DEFINITIONS if d.resource.kind == kind)


class HandsOut:
    """`definition.Allocators` with no end, that note what is taken."""

    families = ("IPv4", "IPv6")

    def __init__(self) -> None:
        self.taken: set[str | int] = set()

    async def allocate_cluster_ip(self, wanted: str = "", family: str = "IPv4") -> str:
        address = wanted or f"{'10.96.1.' if family == 'IPv4' else 'fd00::'}{len(self.taken)}"
        self.taken.add(address)
        return address

    def release_cluster_ip(self, address: str) -> None:
        self.taken.remove(address)

    async def allocate_node_port(self, wanted: int = 0, path: str = "") -> int:
        assert path.startswith(("spec.ports[", "spec.healthCheckNodePort"))
        port = wanted or 30_000 + len(self.taken)
        self.taken.add(port)
        return port

    def release_node_port(self, port: int) -> None:
        self.taken.remove(port)


def allocate(new: Object, old: Object | None, allocators: HandsOut) -> None:
    """Give an object what it needs."""
    definition = definition_of(new["kind"])
    if definition.allocate is not None:
        asyncio.run(definition.allocate(new, old, allocators))


def create(obj: Object, allocators: HandsOut | None = None) -> Object:
    """Return the object as it would be stored, without looking for what is wrong with it."""
    definition = definition_of(obj["kind"])
    new = check(copy.deepcopy(obj), schema_named(definition.schema), "Strict").obj
    new.setdefault("metadata", {}).setdefault("namespace", "default")
    definition.default(new)
    definition.prepare_create(new)
    allocate(new, None, allocators or HandsOut())
    return new


def problems(obj: Object) -> list[str]:
    """Return what creating the object would be refused for."""
    new = create(obj)
    definition = definition_of(obj["kind"])
    causes = [*definition.validate(new), *definition.validate_create(new)]
    return [f"{c.field}: {c.message}" for c in causes]


def update_problems(old: Object, change: Callable[[Object], object]) -> list[str]:
    """Return what changing the object would be refused for."""
    definition = definition_of(old["kind"])
    before = create(old)
    after = copy.deepcopy(before)
    change(after)
    definition.default(after)
    definition.prepare_update(after, before)
    causes = [*definition.validate(after), *definition.validate_update(after, before)]
    return [f"{c.field}: {c.message.splitlines()[0]}" for c in causes]


class Kinds:
    """The functions above, as one fixture."""

    HandsOut = HandsOut
    allocate = staticmethod(allocate)
    definition_of = staticmethod(definition_of)
    create = staticmethod(create)
    problems = staticmethod(problems)
    update_problems = staticmethod(update_problems)


@pytest.fixture
def kinds() -> type[Kinds]:
    return Kinds
