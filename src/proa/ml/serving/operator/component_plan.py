"""Decide for one component in default mode which revisions stay, who gets traffic, and what its status says. Pure.

Source: Knative Serving's configuration and route reconcilers for the words of conditions; PropagateStatus of KServe's
pkg/apis/serving/v1beta1/inference_service_status.go for the component's status.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.operator.conditions import (
    COMPONENT_READY,
    CONFIGURATION_READY,
    FALSE,
    ROUTE_READY,
    TRUE,
    UNKNOWN,
    Conditions,
)
from proa.ml.serving.operator.revision_states import RevisionState
from proa.ml.serving.records import Share
from proa.ml.serving.revisions.names import number_of
from proa.ml.serving.revisions.traffic import Rollout, kept_revisions, plan_traffic
from proa.ml.serving.routing.addresses import Readiness

MAX_WORDS = 1500


class ComponentPlan(NamedTuple):
    """What one component has and gets. `kind` is predictor, …, `name` NAME-predictor, …"""

    kind: str
    name: str
    rollout: Rollout
    shares: tuple[Share, ...]
    kept: tuple[RevisionState, ...]
    gone: tuple[RevisionState, ...]

    @property
    def created(self) -> RevisionState | None:
        """Return the latest revision that was made."""
        return next((state for state in self.kept if state.name == self.rollout.created), None)

    @property
    def routed(self) -> tuple[Share, ...]:
        """Return who is to get requests: the first revision already while it starts, which has them wait.

        Nobody waits for one that has failed: there is no route until it is on its way again.
        """
        if self.shares or self.created is None or self.created.status == FALSE:
            return self.shares
        return (Share(self.rollout.created, 100, True),)


def plan_component(
    kind: str,
    name: str,
    before: Object,
    states: Sequence[RevisionState],
    percent: int | None,
    *,
    has_tags: bool,
) -> ComponentPlan:
    """Return the plan of a component whose status was `before`; `states` are its revisions', the oldest first."""
    names = {state.name for state in states}
    found = Rollout(
        created=max(names, key=number_of, default=""),
        ready=_latest_ready(before.get("latestReadyRevision") or "", states),
        rolled_out=_if_there(before.get("latestRolledoutRevision"), names),
        previous=_if_there(before.get("previousRolledoutRevision"), names),
    )
    split = plan_traffic(found, percent, has_tags=has_tags)
    kept = set(kept_revisions(names, split.rollout, split.shares))
    return ComponentPlan(
        kind,
        name,
        split.rollout,
        split.shares,
        tuple(state for state in states if state.name in kept),
        tuple(state for state in states if state.name not in kept),
    )


def component_status(
    before: Object, plan: ComponentPlan, address: str, url_of: Callable[[str], str], *, is_ready: bool
) -> Object:
    """Return status.components.KIND; `url_of` gives the address of NAME-predictor, latest-NAME-predictor, …"""
    rollout = plan.rollout
    status: Object = {
        "latestCreatedRevision": rollout.created,
        "latestReadyRevision": rollout.ready,
        "latestRolledoutRevision": rollout.rolled_out,
        "previousRolledoutRevision": rollout.previous,
        "traffic": [_target(share, plan.name, url_of) for share in plan.shares],
    }
    if is_ready:
        status |= {"url": url_of(plan.name), "address": {"url": address}}
    else:
        status |= {key: before[key] for key in ("url", "address") if key in before}
    return {key: value for key, value in status.items() if value}


def set_conditions(conditions: Conditions, plan: ComponentPlan, routes: Readiness) -> None:
    """Set what a component's conditions are by its revisions, and by whether requests get to them."""
    configuration = _configuration(plan)
    route = _route(plan, configuration, routes)
    conditions.set(CONFIGURATION_READY[plan.kind], *configuration)
    conditions.set(ROUTE_READY[plan.kind], *route)
    for wanted in (FALSE, UNKNOWN):
        for found in (configuration, route):
            if found.status == wanted:
                conditions.set(COMPONENT_READY[plan.kind], *found)
                return
    conditions.set(COMPONENT_READY[plan.kind], TRUE)


def _configuration(plan: ComponentPlan) -> Readiness:
    created = plan.created
    if created is None or created.status == UNKNOWN:
        return Readiness(UNKNOWN)
    if created.status == TRUE:
        return Readiness(TRUE)
    message = created.message.rstrip(".")
    return Readiness(FALSE, "RevisionFailed", f'Revision "{created.name}" failed with message: {message}.')


def _route(plan: ComponentPlan, configuration: Readiness, routes: Readiness) -> Readiness:
    if plan.shares:
        return routes
    if configuration.status == FALSE:
        words = f'Configuration "{plan.name}" does not have any ready Revision.'
        return Readiness(FALSE, "RevisionMissing", words)
    words = f'Configuration "{plan.name}" is waiting for a Revision to become ready.'
    return Readiness(UNKNOWN, "RevisionMissing", words)


def _latest_ready(before: str, states: Sequence[RevisionState]) -> str:
    """Return the latest that is ready, of those from the last known on; that one again, if none is now."""
    least = number_of(before)
    for state in reversed(states):
        if state.status == TRUE and state.number >= least:
            return state.name
    names = [state.name for state in states]
    if before in names:
        return before
    return next((state.name for state in reversed(states) if state.status == TRUE), "")


def _if_there(name: str | None, names: set[str]) -> str:
    return name if name in names else ""


def _target(share: Share, name: str, url_of: Callable[[str], str]) -> Object:
    target: Object = {
        "revisionName": share.revision,
        "latestRevision": share.is_latest,
        "percent": share.percent,
    }
    if share.tag:
        target |= {"tag": share.tag, "url": url_of(f"{share.tag}-{name}")}
    return target
