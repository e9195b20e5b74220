"""Keep the catalog serving what the stored CustomResourceDefinitions say, as of the newest acknowledged write.

Whoever looks a resource up has the definitions' changes taken in first, from a subscription to the store: a kind is
served by the time that its creator has an answer, other servers' definitions come the same way, and there is no task.
A new definition gets its names in the same write; where two got one name at the same moment, the older is served, and
the controller takes it from the other. Follows apiextensions-apiserver/pkg/apiserver/
customresource_handler.go and pkg/controller/{status,establish}.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from proa.apiserver.custom_resources.deletion import decide_definition
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.apiextensions.approval_rules import approval_of, is_protected
from proa.apiserver.webhooks.webhooks import Webhooks
from proa.client.protocol import Object
from proa.objects.meta import has_condition
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, Resource
from proa.objects.structural.names import Condition, accepted, collide, seniority, with_conditions
from proa.store.protocol import Watch, WatchOverflow

_log = logging.getLogger(__name__)
PREFIX = f"/registry/{CUSTOM_RESOURCE_DEFINITIONS.group}/{CUSTOM_RESOURCE_DEFINITIONS.plural}/"
_APPROVAL = {
    "missing": ("False", "MissingAnnotation"),
    "invalid": ("False", "InvalidAnnotation"),
    "approved": ("True", "ApprovedAnnotation"),
    "bypassed": ("False", "UnapprovedAnnotation"),
}


@dataclass(frozen=True, slots=True)
class _Known:
    """A stored definition: its group and accepted names, its bytes, and what is served of it."""

    group: str
    names: Object
    value: bytes
    resources: tuple[Resource, ...]
    seniority: tuple[str, str]
    is_accepted: bool


class CustomResources:
    """The part of a catalog that the definitions make."""

    def __init__(self, catalog: Catalog, webhooks: Webhooks) -> None:
        self._catalog = catalog
        self._webhooks = webhooks
        self._known: dict[str, _Known] = {}
        self._watch: Watch
        resource = CUSTOM_RESOURCE_DEFINITIONS
        if not catalog.has(resource):
            raise ValueError("custom resources are served only where their definitions are")
        catalog.add(self._with_names(catalog.of(resource).definition))
        catalog.deleters[resource.group, resource.plural] = decide_definition
        self._reload()

    def follow(self) -> None:
        """Take in what has changed."""
        try:
            changes = self._watch.take()
        except WatchOverflow:
            self._watch.close()
            self._reload()
            return
        if not changes:
            return
        newest = {change.key: change for change in changes}
        for key, change in newest.items():
            self._apply(key.removeprefix(PREFIX), change.value, self._catalog.store.revision)

    def _reload(self) -> None:
        """Read all definitions, and follow them from there."""
        store = self._catalog.store
        page = store.range(PREFIX)
        self._watch = store.watch(PREFIX, after_revision=page.revision)
        found = {entry.key.removeprefix(PREFIX): entry for entry in page.entries}
        for name in [*self._known]:
            if name not in found:
                self._apply(name, None, page.revision)
        for name, entry in found.items():
            self._apply(name, entry.value, entry.revision)

    # Names: prepared in the definition's own write.

    def _with_names(self, definition: ResourceDefinition) -> ResourceDefinition:
        """Return the definitions' own kind, whose objects get their names when they are written."""

        def prepare_create(obj: Object) -> None:
            definition.prepare_create(obj)
            self._name(obj)

        def prepare_update(new: Object, old: Object) -> None:
            definition.prepare_update(new, old)
            if new["spec"].get("names") != (new["status"].get("acceptedNames") or {}) or is_protected(
                new["spec"].get("group") or ""
            ):
                self._name(new)

        return replace(definition, prepare_create=prepare_create, prepare_update=prepare_update)

    def _name(self, obj: Object) -> None:
        """Set the accepted names and the conditions about them."""
        self.follow()
        spec, status, name = obj["spec"], obj["status"], obj["metadata"].get("name")
        group = spec.get("group") or ""
        taken = [known.names for key, known in self._known.items() if known.group == group and key != name]
        names, conditions = accepted(spec.get("names") or {}, status, taken)
        if is_protected(group):
            state, why = approval_of(obj)
            conditions.append(Condition("KubernetesAPIApprovalPolicyConformant", *_APPROVAL[state], why))
        status["conditions"] = with_conditions(status.get("conditions"), conditions, self._catalog.now())
        status["acceptedNames"] = names

    # Serving.

    def _apply(self, name: str, value: bytes | None, revision: int) -> None:
        """Serve what a definition says now; None: it is gone."""
        known = self._known.get(name)
        if value is None:
            self._known.pop(name, None)
            self._forget(known.resources if known else ())
            self._serve_waiting(known, revision)
            return
        definition: Object = orjson.loads(value)
        names = (definition.get("status") or {}).get("acceptedNames") or {}
        if not isinstance(definition.get("spec"), dict):  # nobody could write it: what was stored is broken
            _log.error("a definition cannot be served name=%s error=%r", name, "it has no spec")
            self._forget(known.resources if known else ())
            self._known.pop(name, None)
            return
        before: Object | None = orjson.loads(known.value) if known is not None else None
        if known is not None and before is not None and _facts(before) == _facts(definition):
            self._known[name] = replace(known, value=value)
            return
        group = definition["spec"].get("group") or ""
        made = _Known(group, names, value, (), seniority(definition), _is_served(definition))
        rivals = self._rivals(name, made)
        served: list[ResourceDefinition] = []
        if made.is_accepted and not any(rival.seniority < made.seniority for rival in rivals.values()):
            for key, rival in rivals.items():
                self._forget(rival.resources)
                self._known[key] = replace(rival, resources=())
            from proa.apiserver.custom_resources.definitions import make_definitions  # dear

            try:
                stale_until = 0
                if known is None or before is None or _schemas(before) != _schemas(definition):
                    stale_until = revision if self._has_objects(definition) else 0
                elif known.resources:
                    stale_until = self._stale_until(known.resources[0])
                served = make_definitions(definition, value, self._webhooks, stale_until)
            except (KeyError, StopIteration, TypeError, ValueError) as error:
                _log.error("a definition cannot be served name=%s error=%r", name, error)
        resources = tuple(self._add(served, known.resources if known else ()))
        self._forget(resource for resource in (known.resources if known else ()) if resource not in resources)
        self._known[name] = replace(made, resources=resources)
        if known is not None and known.names != names:
            self._serve_waiting(known, revision)

    def _rivals(self, name: str, made: _Known) -> dict[str, _Known]:
        """Return those that were given one of its names at the same moment."""
        return {
            key: known
            for key, known in self._known.items()
            if key != name
            and known.is_accepted
            and known.group == made.group
            and collide(known.names, made.names)
        }

    def _serve_waiting(self, gone: _Known | None, revision: int) -> None:
        """Serve those that gave way to a definition which has its names no more."""
        if gone is None or not gone.resources:
            return
        for key, known in [*self._known.items()]:
            if known.is_accepted and not known.resources and known.group == gone.group:
                del self._known[key]
                self._apply(key, known.value, revision)

    def _has_objects(self, definition: Object) -> bool:
        spec = definition["spec"]
        return self._catalog.store.count(f"/registry/{spec['group']}/{spec['names']['plural']}/") > 0

    def _stale_until(self, resource: Resource) -> int:
        conversion = self._catalog.of(resource).definition.conversion
        return conversion.stale_until if conversion is not None else 0

    def _add(self, served: list[ResourceDefinition], mine: tuple[Resource, ...]) -> Iterator[Resource]:
        """Serve definitions, but none in place of a kind that is built in."""
        known = {(r.group, r.version, r.plural) for r in mine}
        for definition in served:
            resource = definition.resource
            key = (resource.group, resource.version, resource.plural)
            if key in known or self._catalog.find(*key) is None:
                self._catalog.add(definition)
                yield resource

    def _forget(self, resources: Any) -> None:
        for resource in resources:
            if self._catalog.has(resource):
                self._catalog.remove(resource)


def _is_served(definition: Object) -> bool:
    names = (definition.get("status") or {}).get("acceptedNames") or {}
    if not all(names.get(key) for key in ("plural", "singular", "kind", "listKind")):
        return False
    return has_condition(definition, "Established") or has_condition(definition, "NamesAccepted")


def _facts(definition: Object) -> Any:
    """Return what decides how a definition is served."""
    status = definition.get("status") or {}
    return (
        definition["spec"],
        status.get("acceptedNames"),
        status.get("storedVersions"),
        _is_served(definition),
        "deletionTimestamp" in definition["metadata"],
        has_condition(definition, "Terminating"),
    )


def _schemas(definition: Object) -> Any:
    """Return what decides what a definition's objects look like."""
    spec = definition["spec"]
    return spec.get("preserveUnknownFields"), {
        v.get("name"): v.get("schema") for v in spec.get("versions") or ()
    }
