"""Tell scaling, by labels and annotations of its Deployment, how a revision is scaled; HPAs where pods' use decides."""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    ROUTING_STATE,
)
from proa.ml.serving.operator.choosing import Chosen
from proa.ml.serving.operator.component_plan import (
    ComponentPlan,
)
from proa.ml.serving.operator.world import World
from proa.ml.serving.revisions.autoscalers import make_autoscaler
from proa.ml.serving.revisions.names import (
    READY_ANNOTATION,
    component_labels,
    deployment_name,
)
from proa.ml.serving.scaling.annotations import CLASS, GROUP, HPA, PROGRESS_DEADLINE, scaling_annotations
from proa.objects import meta
from proa.objects.resource import DEPLOYMENTS


def scaling_of(isvc: Object, kind: str) -> dict[str, str]:
    """Return the annotations that scaling goes by."""
    said = isvc["spec"][kind]
    annotations = {**meta.annotations(isvc), **(said.get("annotations") or {})}
    return scaling_annotations(said, annotations)


def make_autoscalers(chosen: Chosen, plans: Sequence[ComponentPlan]) -> list[Object]:
    """Return the HPAs of revisions that requests go to, where these are scaled by what pods use."""
    return [
        {**made, "metadata": {**made["metadata"], "labels": component_labels(chosen.isvc, plan.kind)}}
        for plan in plans
        if scaling_of(chosen.isvc, plan.kind).get(CLASS) == HPA
        for revision in dict.fromkeys(share.revision for share in plan.routed)
        for made in [make_autoscaler(revision, deployment_name(revision), chosen.isvc["spec"][plan.kind])]
    ]


async def tell_scaling(world: World, chosen: Chosen, plan: ComponentPlan) -> None:
    """Note on each revision's Deployment what scaling goes by, and when it was ready first."""
    scaling = scaling_of(chosen.isvc, plan.kind)
    routed = {share.revision for share in plan.routed}
    for state in plan.kept:
        annotations: dict[str, str | None] = {k: v for k, v in scaling.items() if _may_change(k)}
        before = meta.annotations(state.deployment)
        annotations |= {key: None for key in before if key not in scaling and _may_change(key)}
        if state.is_first_ready:
            annotations[READY_ANNOTATION] = meta.format_time(world.context.now())
        is_active = state.name in routed or (
            state.name == plan.rollout.created and state.name != plan.rollout.ready
        )
        labels = {ROUTING_STATE: "active" if is_active else "reserve"}
        changed = {key: value for key, value in annotations.items() if before.get(key) != value}
        if changed or any(meta.labels(state.deployment).get(key) != value for key, value in labels.items()):
            patch = {"metadata": {"labels": labels, "annotations": changed}}
            name, namespace = meta.name(state.deployment), meta.namespace(state.deployment)
            await world.client.patch(DEPLOYMENTS, name, patch, namespace)


def _may_change(key: str) -> bool:
    """Tell whether an annotation is about scaling; what pods were made with (their concurrency) stays."""
    return key.startswith(f"{GROUP}/") or key == PROGRESS_DEADLINE
