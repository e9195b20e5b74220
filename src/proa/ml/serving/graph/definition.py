"""Read an InferenceGraph's spec once: nodes and steps with their conditions as paths.

Source: KServe's pkg/apis/serving/v1alpha1/inference_graph.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from proa.objects.gjson import Path
from proa.objects.gjson_parser import BadPath, parse

ROOT = "root"
SEQUENCE, SPLITTER, ENSEMBLE, SWITCH = "Sequence", "Splitter", "Ensemble", "Switch"
RESPONSE = "$response"


class BadGraph(ValueError):
    """A graph cannot be carried out: the field, and what would work."""


class Step(NamedTuple):
    """Where one step leads: a node of the graph, or a service's URL. `name` "" for none."""

    name: str
    node: str
    url: str
    takes_response: bool
    maps_predictions: bool
    weight: int
    condition: Path | None
    is_hard: bool


class Node(NamedTuple):
    """One router of the graph."""

    kind: str
    steps: tuple[Step, ...]


class Timeouts(NamedTuple):
    """Of the router, in seconds; `client` None: services are waited for without end."""

    read: float = 60.0
    write: float = 60.0
    idle: float = 180.0
    client: float | None = None


class Graph(NamedTuple):
    """A graph as the router walks it."""

    nodes: Mapping[str, Node]
    timeouts: Timeouts


def read_graph(spec: Mapping[str, Any]) -> Graph:
    """Return the graph; raise BadGraph."""
    nodes = {
        name: Node(
            node.get("routerType") or "",
            tuple(
                _read_step(step, f"spec.nodes[{name}].steps[{index}]")
                for index, step in enumerate(node.get("steps") or ())
            ),
        )
        for name, node in (spec.get("nodes") or {}).items()
    }
    if ROOT not in nodes:
        raise BadGraph("spec.nodes: there is no node 'root', with which a graph begins")
    given = spec.get("routerTimeouts") or {}
    named = {"read": "serverRead", "write": "serverWrite", "idle": "serverIdle", "client": "serviceClient"}
    timeouts = {ours: float(given[theirs]) for ours, theirs in named.items() if given.get(theirs) is not None}
    return Graph(nodes, Timeouts(**timeouts))


def service_names(spec: Mapping[str, Any]) -> list[str]:
    """Return the InferenceServices that steps name, each once, in order; those with a URL too are not looked for."""
    steps = [step for node in (spec.get("nodes") or {}).values() for step in node.get("steps") or ()]
    return list(
        dict.fromkeys(
            step["serviceName"] for step in steps if step.get("serviceName") and not step.get("serviceUrl")
        )
    )


def _read_step(step: Mapping[str, Any], field: str) -> Step:
    condition = step.get("condition") or ""
    try:
        path = parse(condition) if condition else None
    except BadPath as error:
        raise BadGraph(f"{field}.condition: {error}") from None
    return Step(
        name=step.get("name") or "",
        node=step.get("nodeName") or "",
        url=step.get("serviceUrl") or "",
        takes_response=step.get("data") == RESPONSE,
        maps_predictions=bool(step.get("mapPredictionsToInstances")),
        weight=int(step.get("weight") or 0),
        condition=path,
        is_hard=step.get("dependency") == "Hard",
    )
