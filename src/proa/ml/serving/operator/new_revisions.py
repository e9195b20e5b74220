"""Make the revision that a component's spec asks for, where the latest one is made of something else.

What cannot be made leaves the revisions that there are, and is told as `Refused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    INFERENCE_SERVICES,
    PREDICTOR,
    REVISION_LABEL,
    ROUTING_STATE,
)
from proa.ml.serving.operator.access import make_files
from proa.ml.serving.operator.children import NotOwned, create
from proa.ml.serving.operator.choosing import Chosen
from proa.ml.serving.operator.revision_scaling import scaling_of
from proa.ml.serving.operator.status_writing import stays_as_it_is
from proa.ml.serving.operator.world import World
from proa.ml.serving.revisions.merging import Merged, merge_component
from proa.ml.serving.revisions.model_files import InvalidStorage
from proa.ml.serving.revisions.names import (
    HASH_ANNOTATION,
    component_labels,
    component_name,
    deployment_name,
    number_of,
    revision_labels,
    revision_name,
    revision_selector,
)
from proa.ml.serving.revisions.sources import Sources, find_sources
from proa.ml.serving.revisions.template import TemplateSettings, fingerprint, make_template
from proa.ml.serving.revisions.words import CannotMake
from proa.ml.serving.scaling.annotations import (
    initial_replicas,
    read_scaling,
)
from proa.objects import meta
from proa.objects.errors import BadRequest, Forbidden, Invalid
from proa.objects.resource import DEPLOYMENTS


class Refused(NamedTuple):
    """Why a component has no revision as its spec asks for."""

    kind: str
    reason: str
    message: str
    failure: str = ""
    """What the model's lastFailureInfo says, where it is not the same."""


class Wanted(NamedTuple):
    """What a component's revision is made of."""

    merged: Merged
    sources: Sources
    hash: str


async def ensure_revision(
    world: World, chosen: Chosen, kind: str, deployments: Sequence[Object]
) -> Object | Refused | None:
    """Return the Deployment of a new revision, None where the latest is as the spec says."""
    if chosen.refusal is not None:
        if kind != PREDICTOR:
            return None
        return Refused(kind, chosen.refusal.reason, chosen.refusal.message, chosen.refusal.failure)
    own = [one for one in deployments if is_revision_of(one, kind)]
    latest = max(own, key=lambda one: number_of(meta.labels(one)[REVISION_LABEL]), default=None)
    if latest is not None and stays_as_it_is(world.isvc):
        return None
    try:
        wanted = _wanted(world, chosen, kind)
        if latest is not None and meta.annotations(latest).get(HASH_ANNOTATION) == wanted.hash:
            return None
        return await _make_revision(world, chosen, kind, wanted, _next_number(world.isvc, kind, latest))
    except CannotMake as error:
        return Refused(kind, error.reason, error.message, error.failure)
    except InvalidStorage as error:
        return Refused(kind, "InvalidPredictorSpec", str(error))
    except NotOwned as error:
        return Refused(kind, "NotMade", str(error))
    except (Invalid, BadRequest, Forbidden) as error:
        return Refused(kind, "NotMade", f"the revision's Deployment is refused: {error.message}")


def _wanted(world: World, chosen: Chosen, kind: str) -> Wanted:
    runtime = chosen.runtime if kind == PREDICTOR else None
    merged = merge_component(chosen.isvc, kind, runtime, world.configuration.disallowed_annotations)
    sources = find_sources(chosen.isvc, kind)
    return Wanted(merged, sources, fingerprint(chosen.isvc, kind, merged, sources))


async def _make_revision(world: World, chosen: Chosen, kind: str, wanted: Wanted, number: int) -> Object:
    isvc, configuration = chosen.isvc, world.configuration
    name = component_name(isvc, kind)
    revision = revision_name(name, number)
    files = await make_files(
        world.client,
        world.settings,
        configuration,
        isvc,
        wanted.merged,
        wanted.sources,
        f"{revision}-{wanted.hash}",
        kind,
    )
    labels = revision_labels(name, number)
    settings = TemplateSettings(world.settings.image, configuration.agent_resources, configuration.log_url)
    template = make_template(isvc, kind, wanted.merged, files, settings, labels=labels, has_revisions=True)
    deployment: Object = {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {
            "name": deployment_name(revision),
            "namespace": meta.namespace(isvc),
            "labels": {**component_labels(isvc, kind), **labels, ROUTING_STATE: "active"},
            "annotations": {HASH_ANNOTATION: wanted.hash, **scaling_of(isvc, kind)},
            "ownerReferences": [meta.make_owner_reference(isvc, INFERENCE_SERVICES)],
        },
    }
    deployment["spec"] = {
        "replicas": initial_replicas(read_scaling(deployment)),
        "selector": {"matchLabels": revision_selector(revision)},
        "progressDeadlineSeconds": 600,
        "template": template,
    }
    return await create(world.client, world.isvc, DEPLOYMENTS, deployment, meta.namespace(isvc))


def _next_number(isvc: Object, kind: str, latest: Object | None) -> int:
    told = ((isvc.get("status") or {}).get("components") or {}).get(kind) or {}
    numbers = [number_of(told.get("latestCreatedRevision") or "")]
    if latest is not None:
        numbers.append(number_of(meta.labels(latest)[REVISION_LABEL]))
    return max(numbers) + 1


def is_revision_of(deployment: Object, kind: str) -> bool:
    """Tell whether a Deployment is a revision's of the component."""
    labels = meta.labels(deployment)
    return REVISION_LABEL in labels and labels.get("component") == kind and not meta.is_deleting(deployment)
