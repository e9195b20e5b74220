"""A ControllerRevision keeps a state that a controller may go back to; its data never changes.

Follows pkg/apis/apps/validation ValidateControllerRevision, pkg/registry/apps/controllerrevision/strategy.go and
printControllerRevision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, NONE, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import controller_of
from proa.objects.resource import CONTROLLER_REVISIONS
from proa.objects.validation import required, validate_immutable, validate_non_negative


def default(revision: Object) -> None:
    """Count from 0; upstream always writes the number."""
    revision.setdefault("revision", 0)


def validate(revision: Object) -> list[Cause]:
    """Check that there is data, and the number."""
    causes = [] if revision.get("data") is not None else [required("data", "data is mandatory")]
    return causes + validate_non_negative(revision.get("revision", 0), "revision")


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the data is the same."""
    return validate_immutable(new.get("data"), old.get("data"), "data")


def cells(revision: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return revision["metadata"]["name"], _owner(revision), revision.get("revision", 0), age(revision, now)


def _owner(revision: Object) -> str:
    """Return the controller as `statefulset.apps/web`."""
    owner = controller_of(revision)
    if owner is None:
        return NONE
    group = owner.get("apiVersion", "").rpartition("/")[0]
    kind = owner.get("kind", "").lower()
    return f"{kind}.{group.lower()}/{owner.get('name', '')}" if group else f"{kind}/{owner.get('name', '')}"


DEFINITION = ResourceDefinition(
    resource=CONTROLLER_REVISIONS,
    singular="controllerrevision",
    schema="io.k8s.api.apps.v1.ControllerRevision",
    default=default,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Controller", description="Controller of the object"),
        Column("Revision", description=doc("apps.v1.ControllerRevision.revision")),
        AGE,
    ),
    cells=cells,
)
