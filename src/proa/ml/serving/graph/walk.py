"""Answer one request to a graph by asking its steps, in the order and on the conditions of its nodes.

Statuses and words are upstream's: a step's own answer passes with its status; only what keeps a step from being asked
is an error of the graph's. Source: KServe's cmd/router/main.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import orjson

from proa.ml.serving.graph.definition import (
    ENSEMBLE,
    ROOT,
    SEQUENCE,
    SPLITTER,
    SWITCH,
    Graph,
    Node,
    Step,
)
from proa.objects.gjson import MISSING, find

MAX_DEPTH = 100
"""So many nodes may lead to one another: a circle that no condition ends is an error."""
OK = range(200, 300)


class GraphError(Exception):
    """A graph has no answer: why, with the status to say so."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status = status


class Outcome(NamedTuple):
    """An answer, of a step or of a node."""

    status: int
    body: bytes


Call = Callable[[str, bytes], Awaitable[Outcome]]
"""Asks a service at a URL; raises GraphError where it gives no answer."""


class Walk:
    """Walks one graph for any number of requests. `draw` returns a number of [0, 1)."""

    def __init__(self, graph: Graph, draw: Callable[[], float]) -> None:
        self._graph = graph
        self._draw = draw

    async def answer(self, body: bytes, call: Call) -> Outcome:
        """Return the root node's answer; raise GraphError."""
        return await self._node(ROOT, body, call, 0)

    async def _node(self, name: str, body: bytes, call: Call, depth: int) -> Outcome:
        node = self._graph.nodes.get(name) or Node("", ())
        if depth > MAX_DEPTH:
            raise GraphError(500, f"nodes lead to one another more than {MAX_DEPTH} times, at {name}")
        match node.kind:
            case kind if kind == SPLITTER:
                return await self._step(_pick(node, self._draw()), body, call, depth)
            case kind if kind == SWITCH:
                return await self._step(_choose(node, body), body, call, depth)
            case kind if kind == ENSEMBLE:
                return await self._ensemble(node, body, call, depth)
            case kind if kind == SEQUENCE:
                return await self._sequence(node, body, call, depth)
        raise GraphError(500, f"invalid route type: {node.kind}")

    async def _step(self, step: Step, body: bytes, call: Call, depth: int) -> Outcome:
        if not step.node:
            return await call(step.url, body)
        try:
            return await self._node(step.node, body, call, depth + 1)
        except GraphError as error:
            error.status = 500  # of a node within, as of any step that gives no answer
            raise

    async def _sequence(self, node: Node, body: bytes, call: Call, depth: int) -> Outcome:
        answer = Outcome(0, b"")
        for index, step in enumerate(node.steps):
            given = answer.body if step.takes_response and index else body
            if step.maps_predictions:
                given = map_predictions(given)
            if step.condition is not None:
                read = _read(answer.body)
                if read is MISSING:
                    raise GraphError(500, "invalid response")
                if find(step.condition, read) is MISSING:
                    return Outcome(200, answer.body)
            answer = await self._step(step, given, call, depth)
            if step.is_hard and answer.status not in OK:
                return answer
        return answer

    async def _ensemble(self, node: Node, body: bytes, call: Call, depth: int) -> Outcome:
        tasks = [asyncio.ensure_future(self._part(step, body, call, depth)) for step in node.steps]
        try:
            parts = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        merged: dict[str, Any] = {}
        for index, (step, (status, value)) in enumerate(zip(node.steps, parts, strict=True)):
            if step.is_hard and status not in OK:
                return Outcome(status, orjson.dumps(value))
            merged[step.name or str(index)] = value
        return Outcome(200, orjson.dumps(merged, option=orjson.OPT_SORT_KEYS))

    async def _part(
        self, step: Step, body: bytes, call: Call, depth: int
    ) -> tuple[int, dict[str, Any] | None]:
        """Return a step's answer as an object; raise GraphError where it is none."""
        answer = await self._step(step, body, call, depth)
        read = _read(answer.body)
        if isinstance(read, dict) or read is None:
            return answer.status, read
        what = "no JSON" if read is MISSING else "no JSON object"
        where = step.name or step.node or step.url
        raise GraphError(500, f"the answer of step {where} is {what}, and cannot be merged")


def map_predictions(body: bytes) -> bytes:
    """Return the body with what it has as predictions as instances, and nothing else; as it is where it has none."""
    read = _read(body)
    predictions = read.get("predictions") if isinstance(read, dict) else None
    if not isinstance(predictions, list) or not predictions:
        return body
    return orjson.dumps({"instances": predictions})


def _pick(node: Node, drawn: float) -> Step:
    """Return a splitter's step by the weights, of 100."""
    point, end = int(drawn * 100), 0
    for step in node.steps:
        end += step.weight
        if point < end:
            return step
    raise GraphError(500, "no route was selected by the splitter")


def _choose(node: Node, body: bytes) -> Step:
    """Return a switch's first step whose condition finds something in the request."""
    read = _read(body)
    for step in node.steps:
        if read is not MISSING and step.condition is not None and find(step.condition, read) is not MISSING:
            return step
    raise GraphError(404, "None of the routes matched with the switch condition")


def _read(body: bytes) -> Any:
    """Return JSON, MISSING where it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return MISSING
