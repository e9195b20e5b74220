"""What a custom resource must be besides valid by its schema: its scale within bounds, its status apart.

Follows apiextensions-apiserver/pkg/registry/customresource: strategy.go, status_strategy.go and validator.go.
"""

from __future__ import annotations

from typing import Any

from proa.apiserver.registry.metadata import STANDARD_FINALIZERS, validate_metadata_at
from proa.apiserver.registry.notes import warn
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import Resource
from proa.objects.structural.kind import CustomKind
from proa.objects.structural.list_types import identity
from proa.objects.structural.node import ABSENT
from proa.objects.validation import invalid, quote

MAX_REPLICAS = 2**31 - 1
TERMINATING = "create not allowed while custom resource definition is terminating"


class CustomRules:
    """The functions that a ResourceDefinition asks for, for one version of a custom resource."""

    def __init__(
        self, resource: Resource, kind: CustomKind, subresources: Object, *, is_terminating: bool
    ) -> None:
        self._resource = resource
        self._kind = kind
        self._has_status = subresources.get("status") is not None
        self._scale: Object | None = subresources.get("scale")
        self._is_terminating = is_terminating

    def prepare_create(self, obj: Object) -> None:
        """Refuse objects of a kind that goes; raise Forbidden."""
        if self._is_terminating:
            raise forbidden(self._resource, obj["metadata"].get("name") or "", TERMINATING)
        _warn_of_finalizers(obj["metadata"].get("finalizers") or (), ())

    def prepare_update(self, new: Object, old: Object) -> None:
        """Raise the generation for a status that is no subresource; for the rest the registry does."""
        if not self._has_status and identity(new.get("status")) != identity(old.get("status")):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1
        _warn_of_finalizers(new["metadata"].get("finalizers") or (), old["metadata"].get("finalizers") or ())

    def prepare_status_update(self, new: Object, old: Object) -> None:
        """Keep everything but the status, and who has which field of it."""
        metadata = new["metadata"]
        tracked = metadata.get("managedFields")
        metadata.clear()
        metadata.update(old["metadata"])
        metadata.pop("managedFields", None)
        if tracked is not None:
            metadata["managedFields"] = tracked

    def validate(self, obj: Object) -> list[Cause]:
        """Return what is wrong with a new object."""
        causes = self._kind.validate(obj, validate_metadata_at)
        causes += [*self._spec_causes(obj), *self._status_causes(obj)]
        return causes + self._kind.check_rules(obj, ABSENT, causes, warn)

    def validate_update(self, new: Object, old: Object) -> list[Cause]:
        """Return what is wrong with an object in place of another."""
        causes = self._kind.validate_update(new, old, validate_metadata_at)
        causes += [*self._spec_causes(new), *self._status_causes(new)]
        return causes + self._kind.check_rules(new, old, causes, warn)

    def validate_status_update(self, new: Object, old: Object) -> list[Cause]:
        """Return what is wrong with an object's new status."""
        causes = self._kind.validate_status_update(new, old)
        causes += self._status_causes(new)
        return causes + self._kind.check_rules(new, old, causes, warn)

    def _spec_causes(self, obj: Object) -> list[Cause]:
        return [] if self._scale is None else _replica_causes(obj, self._scale["specReplicasPath"])

    def _status_causes(self, obj: Object) -> list[Cause]:
        if self._scale is None:
            return []
        causes = _replica_causes(obj, self._scale["statusReplicasPath"])
        if path := self._scale.get("labelSelectorPath"):
            value, wrong = _nested(obj, path, str, "string")
            if wrong:
                causes.append(invalid(path, value or "", wrong))
        return causes


def _replica_causes(obj: Object, path: str) -> list[Cause]:
    value, wrong = _nested(obj, path, int, "int64")
    if wrong:
        return [invalid(path, 0, wrong)]
    if value is not None and value < 0:
        return [invalid(path, value, "should be a non-negative integer")]
    if value is not None and value > MAX_REPLICAS:
        return [invalid(path, value, f"should be less than or equal to {MAX_REPLICAS}")]
    return []


def _nested(obj: Object, path: str, wanted: type, go_type: str) -> tuple[Any, str]:
    """Return the value at a path, or (None, why there is none of that type)."""
    found: Any = obj
    steps = path.removeprefix(".").split(".")
    for index, step in enumerate(steps):
        if found is None:
            return None, ""
        if not isinstance(found, dict):
            where = "." + ".".join(steps[:index])
            said = f"{_go(found)} is of the type {_go_type(found)}, expected map[string]interface{{}}"
            return None, f"{where} accessor error: {said}"
        if step not in found:
            return None, ""
        found = found[step]
    if type(found) is not wanted:
        said = f"{_go(found)} is of the type {_go_type(found)}, expected {go_type}"
        return None, f".{'.'.join(steps)} accessor error: {said}"
    return found, ""


def _go(value: Any) -> str:
    return (
        "<nil>"
        if value is None
        else {True: "true", False: "false"}[value]
        if type(value) is bool
        else str(value)
    )


def _go_type(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int64", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}" if isinstance(value, dict) else "<nil>")


def _warn_of_finalizers(finalizers: Any, had: Any) -> None:
    """Warn of new finalizers that others could use too."""
    for name in sorted(set(finalizers) - set(had)):
        if "/" in name or name in STANDARD_FINALIZERS:
            continue
        path = " including a path (/)" if "." in name else ""
        warn(
            f"metadata.finalizers: {quote(name)}: prefer a domain-qualified finalizer name{path} to avoid accidental "
            "conflicts with other finalizer writers"
        )
