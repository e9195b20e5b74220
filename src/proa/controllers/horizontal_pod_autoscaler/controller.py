"""Keep the size of what a HorizontalPodAutoscaler targets where its metrics are on target.

Watches autoscalers and pods; looks at each autoscaler every `SYNC_SECONDS`. Writes the target's scale and the
autoscaler's status. Follows pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.horizontal_pod_autoscaler.behavior import History, Said, normalize
from proa.controllers.horizontal_pod_autoscaler.proposals import Answer, Refusal, Target, propose
from proa.controllers.horizontal_pod_autoscaler.replicas import DEFAULT_TOLERANCE, Tolerances
from proa.objects.errors import ApiError, BadRequest, Conflict, NotFound
from proa.objects.meta import format_time, labels, uid, with_condition
from proa.objects.quantity import parse_quantity
from proa.objects.resource import HORIZONTAL_POD_AUTOSCALERS, PODS, Resource
from proa.objects.selectors import LabelSelector, parse_label_selector
from proa.reconcile.kinds import Kinds, UnknownKind
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch, no_keys

SYNC_SECONDS = 15.0
SCALE_FAILED = "the HPA controller was unable to get the target's current scale: {}"


class Decision(NamedTuple):
    """How many replicas to have, why (for the event), and what else to say in the status."""

    replicas: int
    why: str
    conditions: tuple[tuple[str, Said], ...] = ()
    metrics: list[Object] | None = None
    error: str = ""
    """What could not be measured; where set, `replicas` may still be more than before."""


class HorizontalPodAutoscaler:
    """See the module. It remembers what it recommended and did, by the autoscaler's uid."""

    NAME = "horizontal-pod-autoscaler"
    ACCOUNT = COMPONENT = "horizontal-pod-autoscaler"
    WATCHES = (Watch(HORIZONTAL_POD_AUTOSCALERS), Watch(PODS, keys_of=no_keys))

    def __init__(self) -> None:
        self._histories: dict[Key, tuple[str, History]] = {}
        self._selectors: dict[Key, LabelSelector] = {}
        self._looks: dict[Key, tuple[Object, float]] = {}
        self._kinds = Kinds(time.monotonic)

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Look at one autoscaler: read the target's scale and its metrics, scale it, say what was found."""
        autoscaler = context.caches(HORIZONTAL_POD_AUTOSCALERS).get(key.name, key.namespace)
        if autoscaler is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            self._looks.pop(key, None)
            return DONE
        wait = self._too_soon(key, autoscaler, context.now())
        if wait > 0:
            return Result(requeue_after=wait)
        round = _Round(context, autoscaler)
        try:
            resource, scale = await self._read_scale(context, autoscaler)
        except (ApiError, UnknownKind) as error:
            self._selectors.pop(key, None)
            message = error.message if isinstance(error, ApiError) else _no_matches(autoscaler)
            context.events.event(autoscaler, "Warning", "FailedGetScale", message)
            round.condition("AbleToScale", Said("False", "FailedGetScale", SCALE_FAILED.format(message)))
            await round.write(None)
            return Result(requeue_after=SYNC_SECONDS)
        await self._scale(context, key, round, resource, scale)
        return Result(requeue_after=SYNC_SECONDS)

    def _too_soon(self, key: Key, autoscaler: Object, now: float) -> float:
        """Return how long to wait: a change of the status alone is no reason to look before it is time."""
        spec, last = self._looks.get(key, ({}, 0.0))
        if autoscaler["spec"] == spec and 0 <= now - last < SYNC_SECONDS:
            return last + SYNC_SECONDS - now
        self._looks[key] = (autoscaler["spec"], now)
        return 0.0

    async def _read_scale(self, context: Context, autoscaler: Object) -> tuple[Resource, Object]:
        reference = autoscaler["spec"]["scaleTargetRef"]
        version = reference.get("apiVersion") or "v1"
        resource = (await self._kinds.find(context.client, version, reference["kind"])).resource
        namespace = autoscaler["metadata"]["namespace"]
        path = resource.path(namespace, reference["name"], "scale")
        return resource, await context.client.request("GET", path)

    async def _scale(
        self, context: Context, key: Key, round: _Round, resource: Resource, scale: Object
    ) -> None:
        autoscaler, now = round.autoscaler, context.now()
        current = (scale.get("spec") or {}).get("replicas", 0)
        history = self._history(key, autoscaler, current, now)
        able = "the HPA controller was able to get the target's current scale"
        round.condition("AbleToScale", Said("True", "SucceededGetScale", able))
        decision = await self._decide(context, key, autoscaler, scale, history)
        for type, said in decision.conditions:
            round.condition(type, said)
        if decision.error:
            context.events.event(autoscaler, "Warning", "FailedComputeMetricsReplicas", decision.error)
        before = (autoscaler.get("status") or {}).get("desiredReplicas", 0)
        if decision.error and decision.replicas < 0:
            await round.write(current, before, decision.metrics)
            return
        rescales = decision.replicas != current
        if rescales:
            said = await self._write_scale(context, autoscaler, resource, scale, decision)
            round.condition("AbleToScale", said)
            if said.status == "False":
                await round.write(current, before, decision.metrics)
                return
            history.changed(current, decision.replicas, autoscaler["spec"].get("behavior"), now)
        await round.write(current, decision.replicas, decision.metrics, rescaled=rescales)

    async def _write_scale(
        self, context: Context, autoscaler: Object, resource: Resource, scale: Object, decision: Decision
    ) -> Said:
        namespace, name = autoscaler["metadata"]["namespace"], autoscaler["spec"]["scaleTargetRef"]["name"]
        wanted = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": decision.replicas}}
        words = f"New size: {decision.replicas}; reason: {decision.why}"
        try:
            await context.client.request("PUT", resource.path(namespace, name, "scale"), wanted)
        except ApiError as error:
            context.events.event(autoscaler, "Warning", "FailedRescale", f"{words}; error: {error.message}")
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            return Said("False", "FailedUpdateScale", message)
        context.events.event(autoscaler, "Normal", "SuccessfulRescale", words)
        message = f"the HPA controller was able to update the target scale to {decision.replicas}"
        return Said("True", "SucceededRescale", message)

    async def _decide(
        self, context: Context, key: Key, autoscaler: Object, scale: Object, history: History
    ) -> Decision:
        spec = autoscaler["spec"]
        current, least, most = (
            (scale.get("spec") or {}).get("replicas", 0),
            spec.get("minReplicas", 1),
            spec["maxReplicas"],
        )
        if current == 0 and least != 0:
            message = "scaling is disabled since the replica count of the target is zero"
            return Decision(0, "", (("ScalingActive", Said("False", "ScalingDisabled", message)),))
        if current > most:
            return Decision(most, "Current number of replicas above Spec.MaxReplicas")
        if current < least:
            return Decision(least, "Current number of replicas below Spec.MinReplicas")
        measured = await self._measure(context, key, autoscaler, scale)
        if measured.replicas < 0:
            return measured
        why = ""
        if measured.replicas > current:
            why = f"{measured.why} above target"
        elif measured.replicas < current:
            why = "All metrics below target"
        normalized = normalize(
            measured.replicas, current, least, most, spec.get("behavior"), history, context.now()
        )
        conditions = (
            *measured.conditions,
            ("AbleToScale", normalized.able),
            ("ScalingLimited", normalized.limited),
        )
        return Decision(normalized.replicas, why, conditions, measured.metrics, measured.error)

    async def _measure(self, context: Context, key: Key, autoscaler: Object, scale: Object) -> Decision:
        """Return the most replicas that a metric asks for; -1 where the metrics do not allow to say."""
        try:
            target = self._target(context, key, autoscaler, scale)
        except _NotSelectable as problem:
            context.events.event(autoscaler, "Warning", problem.event, problem.words)
            inactive = ("ScalingActive", Said("False", problem.reason, problem.message))
            return Decision(-1, "", (inactive,), error=problem.words)
        answers: list[Answer] = []
        refusals: list[Refusal] = []
        statuses: list[Object] = []
        for metric in autoscaler["spec"].get("metrics") or ():
            try:
                answer = await propose(
                    context.client, self._kinds, metric, target, _tolerances(autoscaler), context.now()
                )
            except Refusal as refusal:
                context.events.event(autoscaler, "Warning", refusal.reason, str(refusal))
                refusals.append(refusal)
                statuses.append({"type": ""})
            else:
                answers.append(answer)
                statuses.append(answer.status)
        return _judge(answers, refusals, statuses, target)

    def _target(self, context: Context, key: Key, autoscaler: Object, scale: Object) -> Target:
        """Return what is scaled; raise _NotSelectable where its pods cannot be told from others'."""
        text = (scale.get("status") or {}).get("selector", "")
        if not text:
            self._selectors.pop(key, None)
            missing = "the HPA target's scale is missing a selector"
            raise _NotSelectable("SelectorRequired", "selector is required", "InvalidSelector", missing)
        try:
            selector = parse_label_selector(text)
        except BadRequest as error:
            self._selectors.pop(key, None)
            message = (
                f"couldn't convert selector into a corresponding internal selector object: {error.message}"
            )
            raise _NotSelectable("InvalidSelector", message, "InvalidSelector", message) from error
        self._selectors[key] = selector
        pods = [pod for pod in context.caches(PODS).list(key.namespace) if selector.matches(labels(pod))]
        rivals = [
            other
            for other, theirs in self._selectors.items()
            if other.namespace == key.namespace and any(theirs.matches(labels(pod)) for pod in pods)
        ]
        if len(rivals) > 1:
            names = " ".join(f"{other.namespace}/{other.name}" for other in sorted(rivals))
            message = f"pods by selector {text} are controlled by multiple HPAs: [{names}]"
            raise _NotSelectable("AmbiguousSelector", message, "AmbiguousSelector", message)
        wanted = (scale.get("spec") or {}).get("replicas", 0)
        return Target(key.namespace, text, pods, wanted, (scale.get("status") or {}).get("replicas", 0))

    def _history(self, key: Key, autoscaler: Object, current: int, now: float) -> History:
        known = self._histories.get(key)
        if known is None or known[0] != uid(autoscaler):
            history = History()
            history.recommend(current, now, 0)
            self._histories[key] = known = (uid(autoscaler), history)
        return known[1]


class _NotSelectable(Exception):
    """The target's pods cannot be told. The event's reason and words, the condition's reason and message."""

    def __init__(self, event: str, words: str, reason: str, message: str) -> None:
        super().__init__(words)
        self.event, self.words, self.reason, self.message = event, words, reason, message


class _Round:
    """One look at an autoscaler: gathers its conditions and writes its status once."""

    def __init__(self, context: Context, autoscaler: Object) -> None:
        self.autoscaler = autoscaler
        self._context = context
        self._conditions = list((autoscaler.get("status") or {}).get("conditions") or ())

    def condition(self, type: str, said: Said) -> None:
        self._conditions = with_condition(self._conditions, type, *said, self._context.now())

    async def write(
        self,
        current: int | None,
        desired: int = 0,
        metrics: list[Object] | None = None,
        *,
        rescaled: bool = False,
    ) -> None:
        """Write the status where it differs; with `current` None only the conditions are new."""
        before = self.autoscaler.get("status") or {}
        status = {**before, "conditions": self._conditions}
        if current is not None:
            status |= {"currentReplicas": current, "desiredReplicas": desired, "currentMetrics": metrics}
        if rescaled:
            status["lastScaleTime"] = format_time(self._context.now())
        status = {k: v for k, v in status.items() if v or k == "desiredReplicas"}  # as it will be stored
        if status == before:
            return
        try:
            await self._context.client.update(
                HORIZONTAL_POD_AUTOSCALERS, {**self.autoscaler, "status": status}, subresource="status"
            )
        except (NotFound, Conflict):  # gone, or changed: the next look sees
            return


def _no_matches(autoscaler: Object) -> str:
    """Return how upstream's mapper says that a group has no such kind."""
    reference = autoscaler["spec"]["scaleTargetRef"]
    group = (reference.get("apiVersion") or "").rpartition("/")[0]
    return f'no matches for kind "{reference["kind"]}" in group "{group}"'


def _judge(
    answers: list[Answer], refusals: list[Refusal], statuses: list[Object], target: Target
) -> Decision:
    """Go by the metric that asks for most; with some of them missing, only to more replicas."""
    best = max(answers, key=lambda answer: answer.replicas, default=None)
    error = ""
    if refusals:
        count = f"{len(refusals)} invalid out of {len(statuses)}"
        error = f"invalid metrics ({count}), first error is: {refusals[0].whole}"
    if best is None or (refusals and best.replicas < target.wanted):
        reason = refusals[0].reason if refusals else "FailedGetResourceMetric"
        message = (
            f"the HPA was unable to compute the replica count: {refusals[0] if refusals else 'no metrics'}"
        )
        inactive = ("ScalingActive", Said("False", reason, message))
        return Decision(-1, "", (inactive,), statuses, error or message)
    message = f"the HPA was able to successfully calculate a replica count from {best.name}"
    active = ("ScalingActive", Said("True", "ValidMetricFound", message))
    return Decision(best.replicas, best.name, (active,), statuses, error)


def _tolerances(autoscaler: Object) -> Tolerances:
    behavior = autoscaler["spec"].get("behavior") or {}

    def said(direction: str) -> float:
        tolerance = (behavior.get(direction) or {}).get("tolerance")
        return DEFAULT_TOLERANCE if tolerance is None else float(parse_quantity(tolerance))

    return Tolerances(said("scaleUp"), said("scaleDown"))
