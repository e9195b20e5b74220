"""Tell clients what is served: /api, /apis and their parts, as single documents and aggregated, with an ETag.

Follows apiserver/pkg/endpoints/discovery and its aggregated/ folder. Everything is made of the catalog.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import orjson

from proa.apiserver.aggregation.aggregator import Aggregator
from proa.apiserver.aggregation.priorities import group_priority
from proa.apiserver.handlers.negotiation import JSON, answer_object, negotiate
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.conversion import stored_resource
from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.client.protocol import Request, Response

GROUP_ORDER = (
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)
"""Upstream's order: that in which kubectl looks for a short name."""

_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")
_STAGES = {"": 0, "beta": 1, "alpha": 2}
ROOT_PATHS = (
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
)
"""What there is beside the groups."""


UPSTREAM_STORES_AS = {
    "customresourcedefinitions.apiextensions.k8s.io": "v1beta1",
    "mutatingadmissionpolicies.admissionregistration.k8s.io": "v1beta1",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": "v1beta1",
}
"""Resources that upstream stores in another version than the one here; clients compare hashes across servers."""


class Discovery:
    """The documents, made once for a generation of the catalog."""

    def __init__(self, catalog: Catalog, address: str, aggregator: Aggregator) -> None:
        self._catalog = catalog
        self._address = address
        self._aggregator = aggregator
        self._aggregated: dict[tuple[str, str, object], tuple[bytes, str]] = {}

    def groups(self) -> list[str]:
        """Return the named groups in order, those of other servers by the priority that they ask for."""
        named = {group: group_priority(group) for group, _ in self._catalog.group_versions if group}
        for remote in self._aggregator.remotes().values():
            named[remote.group] = max(named.get(remote.group, 0), remote.group_priority)
        ranks = {group: rank for rank, group in enumerate(GROUP_ORDER)}
        behind = {
            priority: sum(group_priority(group) >= priority for group in GROUP_ORDER)
            for priority in named.values()
        }
        return sorted(named, key=lambda g: (ranks.get(g, behind[named[g]] - 0.5), -named[g], g))

    def serve(self, request: Request, parts: list[str]) -> Response | None:
        """Answer /api, /apis and what is below them; None where there is no such group or version."""
        if len(parts) == 1:
            asked = _aggregated_version(request.headers.get("accept", ""))
            if asked:
                return self._serve_aggregated(request, parts[0], asked)
            document: dict[str, Any] | None = self._versions() if parts[0] == "api" else self._group_list()
        elif parts[0] == "api" and len(parts) == 2:
            document = self._resources("", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            document = self._group_document(parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            document = self._resources(parts[1], parts[2])
        else:
            document = None
        if document is None:
            return None
        return answer_object(document, negotiate(request.headers.get("accept", "")))

    def serve_root(self, request: Request) -> Response:
        """Answer / with every path that leads on (apiserver/pkg/server/routes/index.go)."""
        paths = set(ROOT_PATHS)
        for group, version in self._catalog.group_versions:
            paths |= {f"/apis/{group}", f"/apis/{group}/{version}"} if group else {f"/api/{version}"}
        return answer_object({"paths": sorted(paths)})

    def _versions(self) -> dict[str, Any]:
        return {
            "kind": "APIVersions",
            "versions": self._versions_of(""),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}],
        }

    def _versions_of(self, group: str) -> list[str]:
        found = [version for g, version in self._catalog.group_versions if g == group]
        found += [version for g, version in self._aggregator.remotes() if g == group]
        return sorted(found, key=version_rank)

    def _group_list(self) -> dict[str, Any]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(g) for g in self.groups()]}

    def _group_document(self, group: str) -> dict[str, Any] | None:
        if not self._versions_of(group):
            return None
        return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}

    def _group(self, group: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._versions_of(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> dict[str, Any] | None:
        registries = self._catalog.group_versions.get((group, version))
        if registries is None:
            return None
        resources = []
        for plural in sorted(registries):
            definition = registries[plural].definition
            resources.append(_resource(definition))
            resources += [_subresource(definition, s) for s in _subresources(definition)]
        group_version = f"{group}/{version}" if group else version
        document = {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}
        return {"apiVersion": "v1", **document} if group else document

    def _serve_aggregated(self, request: Request, root: str, version: str) -> Response:
        key = (root, version, (self._catalog.generation, self._aggregator.generation))
        found = self._aggregated.get(key)
        if found is None:
            self._aggregated = {k: v for k, v in self._aggregated.items() if k[2] == key[2]}
            groups = [""] if root == "api" else self.groups()
            document = {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": f"apidiscovery.k8s.io/{version}",
                "metadata": {},
                "items": [self._aggregated_group(group) for group in groups],
            }
            body = orjson.dumps(document)
            found = self._aggregated[key] = (body, f'"{hashlib.sha512(body).hexdigest().upper()}"')
        body, etag = found
        headers = {
            "Content-Type": f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList",
            "ETag": etag,
            "Vary": "Accept",
            "Cache-Control": "public",
        }
        if request.headers.get("if-none-match") == etag:
            return Response(304, headers)
        return Response(200, headers, body)

    def _aggregated_group(self, group: str) -> dict[str, Any]:
        versions = []
        remotes = self._aggregator.remotes()
        for version in self._versions_of(group):
            if (remote := remotes.get((group, version))) is not None:
                versions.append(
                    {
                        "version": version,
                        "resources": self._aggregator.resources_of(remote),
                        "freshness": "Current" if remote.is_available else "Stale",
                    }
                )
                continue
            registries = self._catalog.group_versions[group, version]
            resources = [_aggregated_resource(registries[plural].definition) for plural in sorted(registries)]
            versions.append({"version": version, "resources": resources, "freshness": "Current"})
        return {"metadata": {"name": group} if group else {}, "versions": versions}


def _aggregated_version(accept: str) -> str:
    """Return the version of the aggregated document that the client prefers, "" when it asks for none."""
    for clause in accept.split(","):
        if "as=APIGroupDiscoveryList" in clause and "g=apidiscovery.k8s.io" in clause:
            version = clause.partition("v=")[2].partition(";")[0].strip()
            if version in ("v2", "v2beta1"):
                return version
        elif clause.partition(";")[0].strip() in (JSON, "*/*") and "as=" not in clause:
            return ""
    return ""


def version_rank(version: str) -> tuple[object, ...]:
    """Return a key that sorts versions v2, v1, v1beta1, other: apimachinery/pkg/version/helpers.go."""
    parsed = _VERSION.fullmatch(version)
    if parsed is None:
        return 1, version
    major, stage, minor = parsed.groups()
    return 0, _STAGES[stage or ""], -int(major), -int(minor or 0)


def _subresources(definition: ResourceDefinition) -> list[Subresource]:
    """Return the subresources in upstream's order: a custom kind's are as they were defined."""
    if definition.is_custom:
        return list(definition.subresources)
    return sorted(definition.subresources, key=lambda subresource: subresource.name)


def _resource(definition: ResourceDefinition) -> dict[str, Any]:
    resource = definition.resource
    document = {
        "name": resource.plural,
        "singularName": definition.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(definition.verbs),
    }
    if definition.short_names:
        document["shortNames"] = list(definition.short_names)
    if definition.categories:
        document["categories"] = list(definition.categories)
    if definition.review is None and definition.computed is None:
        document["storageVersionHash"] = _storage_version_hash(definition)
    return document


def _storage_version_hash(definition: ResourceDefinition) -> str:
    """Return what upstream's StorageVersionHash returns: eight bytes of a SHA-256 of group/version/kind."""
    resource = stored_resource(definition)
    version = UPSTREAM_STORES_AS.get(resource.qualified_name, resource.version)
    digest = hashlib.sha256(f"{resource.group}/{version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _subresource(definition: ResourceDefinition, subresource: Subresource) -> dict[str, Any]:
    resource = definition.resource
    document: dict[str, Any] = {
        "name": f"{resource.plural}/{subresource.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    group, version = _group_version(definition, subresource)
    if version:
        document |= {"group": group, "version": version}
    document |= {"kind": subresource.kind, "verbs": list(subresource.verbs)}
    return document


def _group_version(definition: ResourceDefinition, subresource: Subresource) -> tuple[str, str]:
    """Return the group and version of a subresource's body where they are not the resource's own."""
    if not subresource.api_version or subresource.api_version == definition.resource.api_version:
        return "", ""
    group, _, version = subresource.api_version.rpartition("/")
    return group, version


def _aggregated_resource(definition: ResourceDefinition) -> dict[str, Any]:
    resource = definition.resource
    own = (resource.group, resource.version) if definition.is_custom else ("", "")
    document: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": own[0], "version": own[1], "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": definition.singular,
        "verbs": list(definition.verbs),
    }
    if definition.short_names:
        document["shortNames"] = list(definition.short_names)
    if definition.categories:
        document["categories"] = list(definition.categories)
    subresources = []
    for subresource in _subresources(definition):
        group, version = _group_version(definition, subresource)
        if not version:
            group, version = own
        subresources.append(
            {
                "subresource": subresource.name,
                "responseKind": {"group": group, "version": version, "kind": subresource.kind},
                "verbs": list(subresource.verbs),
            }
        )
    if subresources:
        document["subresources"] = subresources
    return document
