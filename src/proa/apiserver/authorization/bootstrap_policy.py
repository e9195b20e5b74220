"""See at every start that the roles and bindings are there that a cluster has by default, with all of their rules.

policy/kubernetes-1.36.json has upstream's (plugin/pkg/auth/authorizer/rbac/bootstrappolicy), policy/proa.json what our
own components need beyond them. What is missing of an object is added, what is there beyond is kept, and an object
whose annotation rbac.authorization.kubernetes.io/autoupdate is "false" is left alone: rest/storage_rbac.go there,
component-helpers/auth/rbac/reconciliation. A rule is "verbs groups resources [names]" or "verbs paths", each a list
with commas; "-" is the core group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from proa.apiserver.authorization.rules import find_uncovered
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.managed_fields.entries import Entry, Writer
from proa.objects.managed_fields.update import created, replaced
from proa.objects.meta import format_time
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, Resource

POLICY = Path(__file__).with_name("policy")
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
GROUP = "rbac.authorization.k8s.io"
_SOURCES = (
    (POLICY / "kubernetes-1.36.json", "kubernetes.io/bootstrapping", "system:controller:"),
    (POLICY / "proa.json", "proa.local/bootstrapping", "system:proa:controller:"),
)
"""Files, the label that their objects have, and how a role begins that is bound to the controller it names."""


@dataclass(frozen=True, slots=True)
class Default:
    """An object that every cluster has."""

    resource: Resource
    obj: Object


def load_policy() -> Iterator[Default]:
    """Yield all roles and bindings, those in no namespace first."""
    for file, label, prefix in _SOURCES:
        yield from _read(orjson.loads(file.read_bytes()), label, prefix)


def _read(policy: Mapping[str, Any], label: str, prefix: str) -> Iterator[Default]:
    for name, said in policy.get("clusterRoles", {}).items():
        yield Default(CLUSTER_ROLES, _role(CLUSTER_ROLES, _metadata(name, label, said), said))
        if name.startswith(prefix):
            account = f"ServiceAccount kube-system/{name.removeprefix(prefix)}"
            bound = {"role": f"ClusterRole {name}", "subjects": [account]}
            yield Default(
                CLUSTER_ROLE_BINDINGS, _binding(CLUSTER_ROLE_BINDINGS, _metadata(name, label), bound)
            )
    for name, said in policy.get("clusterRoleBindings", {}).items():
        yield Default(CLUSTER_ROLE_BINDINGS, _binding(CLUSTER_ROLE_BINDINGS, _metadata(name, label), said))
    for name, said in policy.get("roles", {}).items():
        yield Default(ROLES, _role(ROLES, _metadata(name, label), said))
    for name, said in policy.get("roleBindings", {}).items():
        yield Default(ROLE_BINDINGS, _binding(ROLE_BINDINGS, _metadata(name, label), said))


def _metadata(name: str, label: str, said: Mapping[str, Any] | None = None) -> Object:
    """Return the metadata; the name of an object in a namespace is "namespace/name"."""
    namespace, _, last = name.rpartition("/")
    labels = {label: "rbac-defaults"}
    labels.update((f"{GROUP}/{key}", "true") for key in (said or {}).get("labels", ()))
    metadata = {"name": last, "annotations": {AUTO_UPDATE: "true"}, "labels": labels}
    return {**metadata, "namespace": namespace} if namespace else metadata


def _role(resource: Resource, metadata: Object, said: Mapping[str, Any]) -> Object:
    role = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    if "gathers" in said:
        selector = {"matchLabels": {f"{GROUP}/{said['gathers']}": "true"}}
        return {**role, "aggregationRule": {"clusterRoleSelectors": [selector]}}
    return {**role, "rules": [_rule(rule) for rule in said["rules"]]}


def _rule(text: str) -> Object:
    verbs, *rest = (part.split(",") for part in text.split(" "))
    if len(rest) == 1:
        return {"nonResourceURLs": rest[0], "verbs": verbs}
    groups, resources, *names = rest
    rule = {"apiGroups": ["" if group == "-" else group for group in groups], "resources": resources}
    if names:
        rule["resourceNames"] = names[0]
    return {**rule, "verbs": verbs}


def _binding(resource: Resource, metadata: Object, said: Mapping[str, Any]) -> Object:
    kind, name = said["role"].split(" ")
    binding = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
    }
    subjects = [_subject(*subject.split(" ")) for subject in said["subjects"]]
    return {**binding, "subjects": subjects} if subjects else binding


def _subject(kind: str, name: str) -> Object:
    if kind != "ServiceAccount":
        return {"kind": kind, "apiGroup": GROUP, "name": name}
    namespace, _, account = name.partition("/")
    return {"kind": kind, "name": account, "namespace": namespace}


# --- bringing the store there -----------------------------------------------------------------------------------


async def ensure_policy(catalog: Catalog) -> None:
    """Create and complete the default roles and bindings; their namespaces must be there."""
    incomplete = [
        (registry, default.obj)
        for default in load_policy()
        if not _is_whole(registry := catalog.of(default.resource), default.obj)
    ]
    await asyncio.gather(*(_ensure(registry, wanted) for registry, wanted in incomplete))


def _is_whole(registry: ResourceRegistry, wanted: Object) -> bool:
    found = _find(registry, wanted)
    return found is not None and completed(found, wanted) == found


def _find(registry: ResourceRegistry, wanted: Object) -> Object | None:
    return registry.find(wanted["metadata"].get("namespace", ""), wanted["metadata"]["name"])


async def _ensure(registry: ResourceRegistry, wanted: Object) -> None:
    name, namespace = wanted["metadata"]["name"], wanted["metadata"].get("namespace", "")
    tracker = _Tracker(registry)
    while True:
        if _find(registry, wanted) is None:
            try:
                await registry.create(orjson.loads(orjson.dumps(wanted)), namespace, track=tracker.track)
            except AlreadyExists:
                continue
            return
        try:
            await registry.update(namespace, name, lambda old: completed(old, wanted), track=tracker.track)
        except NotFound:
            continue
        return


def completed(found: Object, wanted: Object) -> Object:
    """Return `found` with what it lacks of `wanted`; the role of a binding cannot change, and is left alone."""
    metadata, default = found["metadata"], wanted["metadata"]
    if (metadata.get("annotations") or {}).get(AUTO_UPDATE) == "false":
        return found
    result = {**found, "metadata": {**metadata, **_merged(metadata, default)}}
    if "aggregationRule" in wanted:
        have = (found.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        missing = [s for s in wanted["aggregationRule"]["clusterRoleSelectors"] if s not in have]
        result["aggregationRule"] = {"clusterRoleSelectors": [*have, *missing]}
    elif "rules" in wanted and found.get("rules") != wanted["rules"]:
        rules = found.get("rules") or []
        result["rules"] = [*rules, *find_uncovered(rules, wanted["rules"])]
    elif "subjects" in wanted and found.get("roleRef") == wanted["roleRef"]:
        subjects = found.get("subjects") or []
        result["subjects"] = [*subjects, *(s for s in wanted["subjects"] if s not in subjects)]
    return result


def _merged(metadata: Object, default: Object) -> Object:
    """Return labels and annotations; what is there wins."""
    return {key: {**default[key], **(metadata.get(key) or {})} for key in ("labels", "annotations")}


class _Tracker:
    """Notes the fields as kube-apiserver's."""

    def __init__(self, registry: ResourceRegistry) -> None:
        self._schema = registry.definition.object_schema
        version, now = registry.resource.api_version, format_time(int(registry.now()))
        self._writer = Writer("kube-apiserver", version, now, "")

    def track(self, old: Object | None, new: Object) -> list[Entry]:
        if old is None:
            return created(new, None, self._schema, self._writer)
        return replaced(old, new, self._schema, self._writer)
