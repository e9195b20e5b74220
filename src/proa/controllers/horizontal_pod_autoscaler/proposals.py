"""Ask one metric of an autoscaler how many replicas it wants, and what to show of it in the status.

Follows computeReplicasForMetric and what it calls in pkg/controller/podautoscaler/horizontal.go; so do the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Client, Object
from proa.controllers.horizontal_pod_autoscaler import replicas as calculator
from proa.controllers.horizontal_pod_autoscaler.metrics import (
    NoMetrics,
    read_external,
    read_object,
    read_pods,
    read_resource,
)
from proa.controllers.horizontal_pod_autoscaler.replicas import Tolerances
from proa.objects.quantity import canonicalize, to_millis
from proa.objects.selectors import selector_from_dict
from proa.reconcile.kinds import Kinds, UnknownKind


class Target(NamedTuple):
    """What is scaled: its pods (and the selector that finds them), its size as wanted and as it is."""

    namespace: str
    selector: str
    pods: Sequence[Object]
    wanted: int
    current: int


class Answer(NamedTuple):
    """A number of replicas, what the metric is called in events, and its part of status.currentMetrics."""

    replicas: int
    name: str
    status: Object


class Refusal(Exception):
    """The metric cannot be had. `reason` is the event's and the condition's; the message is the event's."""

    def __init__(self, reason: str, message: str, whole: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.whole = whole
        """The message as it goes on, with what was being done."""


async def propose(
    client: Client, kinds: Kinds, spec: Object, target: Target, tolerances: Tolerances, now: float
) -> Answer:
    """Return what a metric of spec.metrics asks for; raise Refusal."""
    match spec["type"]:
        case "Resource":
            return await _resource(client, spec["resource"], "resource", target, tolerances, now)
        case "ContainerResource":
            return await _resource(
                client, spec["containerResource"], "containerResource", target, tolerances, now
            )
        case "Pods":
            return await _pods(client, spec["pods"], target, tolerances, now)
        case "Object":
            return await _object(client, kinds, spec["object"], target, tolerances)
        case "External":
            return await _external(client, spec["external"], target, tolerances)
    message = f'unknown metric source type "{spec["type"]}"'
    raise Refusal("InvalidMetricSourceType", message, message)


async def _resource(
    client: Client, said: Object, field: str, target: Target, tolerances: Tolerances, now: float
) -> Answer:
    resource, container, wanted = said["name"], said.get("container", ""), said["target"]
    kind = "ContainerResource" if container else "Resource"
    what = "utilization" if wanted.get("averageUtilization") is not None else "usage"
    try:
        metrics = await read_resource(client, target.namespace, target.selector, resource, container)
    except NoMetrics as error:
        message = f"failed to get {resource} {what}: unable to get metrics for resource {resource}: {error}"
        raise _refusal(kind, resource, message) from error
    name = f"{resource} container resource" if container else f"{resource} resource"
    try:
        if wanted.get("averageValue") is not None:
            goal = to_millis(wanted["averageValue"])
            found = calculator.by_value(target.pods, metrics, target.wanted, goal, resource, tolerances, now)
        else:
            percent = wanted["averageUtilization"]
            found = calculator.by_utilization(
                target.pods, metrics, target.wanted, percent, resource, container, tolerances, now
            )
            name += " utilization (percentage of request)"
    except NoMetrics as error:
        raise _refusal(kind, resource, f"failed to get {resource} {what}: {error}") from error
    shown: Object = {"averageValue": _quantity(found.usage)}
    if found.utilization is not None:
        shown = {"averageUtilization": found.utilization, **shown}
    named = {"container": container, "name": resource} if container else {"name": resource}
    return Answer(found.replicas, name, {"type": kind, field: {**named, "current": shown}})


def _refusal(kind: str, resource: str, message: str) -> Refusal:
    what = "container" if kind == "ContainerResource" else "resource"
    return Refusal(
        f"FailedGet{kind}Metric", message, f"failed to get {resource} {what} metric value: {message}"
    )


async def _pods(client: Client, said: Object, target: Target, tolerances: Tolerances, now: float) -> Answer:
    metric, selector = said["metric"]["name"], _selector(said["metric"])
    try:
        try:
            metrics = await read_pods(client, target.namespace, target.selector, metric, selector)
        except NoMetrics as error:
            raise NoMetrics(f"unable to get metric {metric}: {error}") from error
        goal = to_millis(said["target"]["averageValue"])
        found = calculator.by_value(target.pods, metrics, target.wanted, goal, "", tolerances, now)
    except NoMetrics as error:
        raise Refusal(
            "FailedGetPodsMetric", str(error), f"failed to get pods metric value: {error}"
        ) from error
    status = {"metric": said["metric"], "current": {"averageValue": _quantity(found.usage)}}
    return Answer(found.replicas, f"pods metric {metric}", {"type": "Pods", "pods": status})


async def _object(
    client: Client, kinds: Kinds, said: Object, target: Target, tolerances: Tolerances
) -> Answer:
    metric, described, wanted = said["metric"], said["describedObject"], said["target"]
    try:
        try:
            version = described.get("apiVersion") or "v1"
            resource = (await kinds.find(client, version, described["kind"])).resource
            value = await read_object(
                client, target.namespace, resource, described["name"], metric["name"], _selector(metric)
            )
        except (NoMetrics, UnknownKind) as error:
            where = f"{described['kind']} {target.namespace}/{described['name']}"
            raise NoMetrics(f"unable to get metric {metric['name']}: {where}/{error}") from error
        if wanted.get("value") is not None:
            goal = to_millis(wanted["value"])
            found = calculator.by_total(value, target.pods, target.wanted, goal, tolerances)
            shown = {"value": _quantity(found.usage)}
        else:
            goal = to_millis(wanted["averageValue"])
            found = calculator.by_average(value, target.current, goal, tolerances)
            shown = {"averageValue": _quantity(found.usage)}
    except NoMetrics as error:
        message = f"failed to get object metric value: {error}"
        raise Refusal("FailedGetObjectMetric", str(error), message) from error
    status = {"metric": metric, "current": shown, "describedObject": described}
    name = f"{described['kind']} metric {metric['name']}"
    return Answer(found.replicas, name, {"type": "Object", "object": status})


async def _external(client: Client, said: Object, target: Target, tolerances: Tolerances) -> Answer:
    metric, wanted = said["metric"], said["target"]
    selector = _selector(metric)
    try:
        try:
            value = await read_external(client, target.namespace, metric["name"], selector)
        except NoMetrics as error:
            where = f"{target.namespace}/{metric['name']}/{selector or 'nil'}"
            raise NoMetrics(f"unable to get external metric {where}: {error}") from error
        if wanted.get("averageValue") is not None:
            goal = to_millis(wanted["averageValue"])
            found = calculator.by_average(value, target.current, goal, tolerances)
            shown = {"averageValue": _quantity(found.usage)}
        else:
            goal = to_millis(wanted["value"])
            found = calculator.by_total(value, target.pods, target.wanted, goal, tolerances)
            shown = {"value": _quantity(found.usage)}
    except NoMetrics as error:
        message = f"failed to get external metric {metric['name']}: {error}"
        whole = f"failed to get {metric['name']} external metric value: {message}"
        raise Refusal("FailedGetExternalMetric", str(error), whole) from error
    status = {"metric": metric, "current": shown}
    name = f"external metric {metric['name']}({selector or 'nil'})"
    return Answer(found.replicas, name, {"type": "External", "external": status})


def _selector(metric: Object) -> str:
    return str(selector_from_dict(metric["selector"])) if metric.get("selector") else ""


def _quantity(millis: int) -> str:
    return canonicalize(f"{millis}m")
