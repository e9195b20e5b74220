"""A FlowSchema's condition says whether its priority level exists."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers import flow_schema
from proa.objects.resource import FLOW_SCHEMAS, PRIORITY_LEVELS

SCHEMA = {"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "p"}}}


def find_condition(schema: Any) -> tuple[str, str, str]:
    (condition,) = schema["status"]["conditions"]
    return condition["type"], condition["status"], condition["reason"]


def test_the_condition_follows_the_level(world: Any) -> None:
    async def scenario() -> None:
        async with world([flow_schema]) as w:
            w.client.add(FLOW_SCHEMAS, SCHEMA)
            await w.settle()
            assert find_condition(w.client.peek(FLOW_SCHEMAS, "s")) == ("Dangling", "True", "NotFound")
            w.client.add(PRIORITY_LEVELS, {"metadata": {"name": "p"}, "spec": {"type": "Exempt"}})
            await w.settle()
            assert find_condition(w.client.peek(FLOW_SCHEMAS, "s")) == ("Dangling", "False", "Found")

    asyncio.run(scenario())


@pytest.mark.parametrize("level", [None, {"metadata": {"name": "p"}}])
def test_a_condition_that_is_right_is_not_written_again(level: Any) -> None:
    planned = flow_schema.plan(SCHEMA, level, 0.0)
    assert planned is not None
    assert flow_schema.plan(planned, level, 9.0) is None


def test_the_time_is_that_of_the_change() -> None:
    missing = flow_schema.plan(SCHEMA, None, 0.0)
    found = flow_schema.plan(missing, {"metadata": {"name": "p"}}, 60.0)
    assert found is not None
    assert found["status"]["conditions"][0]["lastTransitionTime"] == "1970-01-01T00:01:00Z"
