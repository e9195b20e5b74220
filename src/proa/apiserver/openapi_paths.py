"""Write a resource's operations as OpenAPI v3 paths: what kubectl asks them is which parameters and kinds they take.

Follows apiserver/pkg/endpoints/installer.go.
"""

from __future__ import annotations

import re
from typing import Any

from proa.apiserver.openapi_custom import custom_name
from proa.apiserver.openapi_schemas import Json, definition_of, reference
from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.objects.schemas.load import META

DRY_RUN = {"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": True}}
FIELD_MANAGER = {"name": "fieldManager", "in": "query", "schema": {"type": "string", "uniqueItems": True}}
FIELD_VALIDATION = {
    "name": "fieldValidation",
    "in": "query",
    "schema": {"type": "string", "uniqueItems": True},
}
FORCE = {"name": "force", "in": "query", "schema": {"type": "boolean", "uniqueItems": True}}
PRETTY = {"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": True}}
WRITE = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION]
DELETE = [
    DRY_RUN,
    *(
        {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
        for name, kind in (
            ("gracePeriodSeconds", "integer"),
            ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        )
    ),
]
LIST = [
    {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
    for name, kind in (
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    )
]
PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
CUSTOM_PATCH_TYPES = PATCH_TYPES[:3]
ANSWER_TYPES = ("application/json", "application/yaml")
ACTIONS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
METHODS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
WORDS = {"get": "read", "create": "create", "update": "replace", "patch": "patch", "delete": "delete"}


DISCOVERED = {"apis": "APIGroupList", "group": "APIGroup", "version": "APIResourceList", "api": "APIVersions"}
_WORDS = {"apis": "APIVersions", "group": "APIGroup", "version": "APIResources", "api": "APIVersions"}
"""The kind that discovery answers with, by how deep a path leads."""


ISSUER = {
    ".well-known/openid-configuration": ("WellKnown", "getServiceAccountIssuerOpenIDConfiguration"),
    "openid/v1/jwks": ("openid", "getServiceAccountIssuerOpenIDKeyset"),
}
"""What the issuer of tokens says of itself: the tag and the operation's id."""


def discovered_name(path: str) -> str:
    """Return the component that the server answers with at a document's path, such as "apis/apps"; "" for text."""
    if path in ISSUER:
        return ""
    if path == "version":
        return "io.k8s.apimachinery.pkg.version.Info"
    return META + DISCOVERED[_depth(path)]


def _depth(path: str) -> str:
    count = path.count("/")
    if not count:
        return path
    return "group" if path.startswith("apis/") and count == 1 else "version"


def make_discovery_paths(path: str) -> Json:
    """Return the path that tells what is below a document's path; the server's own version for "version"."""
    tag = operation_id = ""
    if path == "version":
        tag, operation_id = "version", "getCodeVersion"
    elif path in ISSUER:
        tag, operation_id = ISSUER[path]
    else:
        root, _, rest = path.partition("/")
        group, _, version = ("core", "", rest) if root == "api" else rest.partition("/")
        tag = "_".join(filter(None, (_tag(group), version))) or root
        operation_id = f"get{_identifier(group)}{version.capitalize()}{_WORDS[_depth(path)]}"
    responses = _responses(discovered_name(path), ("200",))
    return {f"/{path}/": {"get": {"tags": [tag], "operationId": operation_id, "responses": responses}}}


def _identifier(group: str) -> str:
    """Return a group's name within an operation's id: RbacAuthorization."""
    trimmed = group.removesuffix(".k8s.io")
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", trimmed))


def _tag(group: str) -> str:
    name = _identifier(group)
    return name[:1].lower() + name[1:]


def make_paths(definition: ResourceDefinition) -> Json:
    """Return the paths of a resource and its subresources."""
    writer = _Writer(definition)
    resource = definition.resource
    collection = resource.path("{namespace}" if resource.namespaced else None)
    paths = {collection: writer.collection()}
    if definition.review is None:
        paths[f"{collection}/{{name}}"] = writer.item()
    if resource.namespaced and "list" in definition.verbs:
        paths[resource.path()] = writer.all_namespaces()
    for subresource in definition.subresources:
        paths[f"{collection}/{{name}}/{subresource.name}"] = writer.subresource(subresource)
    return paths


class _Writer:
    """Writes the operations of one resource."""

    def __init__(self, definition: ResourceDefinition) -> None:
        resource = definition.resource
        self.definition = definition
        group = resource.group or "core"
        self.tag = f"{_tag(group)}_{resource.version}"
        self.id_part = _identifier(group) + resource.version.capitalize()
        self.patch_types = PATCH_TYPES if not definition.is_custom else CUSTOM_PATCH_TYPES
        self.scope = "Namespaced" if resource.namespaced else ""
        self.gvk = {"group": resource.group, "kind": resource.kind, "version": resource.version}

    def collection(self) -> Json:
        """Return list, create and deletecollection."""
        kind, verbs = self.definition.resource.kind, self.definition.verbs
        item: Json = {}
        if "list" in verbs:
            item["get"] = self._list(f"list{self.id_part}{self.scope}{kind}")
        if "create" in verbs:
            item["post"] = self._operation("create", self.gvk, f"create{self.id_part}{self.scope}{kind}")
        if "deletecollection" in verbs:
            operation_id = f"delete{self.id_part}Collection{self.scope}{kind}"
            item["delete"] = self._operation("delete", self.gvk, operation_id, action="deletecollection")
        return {**item, "parameters": self._path_parameters(with_name=False)}

    def all_namespaces(self) -> Json:
        """Return the list over all namespaces."""
        operation_id = f"list{self.id_part}{self.definition.resource.kind}ForAllNamespaces"
        return {"get": self._list(operation_id), "parameters": [PRETTY]}

    def item(self) -> Json:
        """Return get, update, patch and delete."""
        kind = self.definition.resource.kind
        item: Json = {}
        for verb in ("get", "update", "patch", "delete"):
            if verb in self.definition.verbs:
                operation_id = f"{WORDS[verb]}{self.id_part}{self.scope}{kind}"
                item[METHODS[verb]] = self._operation(verb, self.gvk, operation_id)
        return {**item, "parameters": self._path_parameters(with_name=True)}

    def subresource(self, subresource: Subresource) -> Json:
        """Return a subresource's operations."""
        kind, resource = subresource.kind, self.definition.resource
        group, _, version = (subresource.api_version or resource.api_version).rpartition("/")
        gvk = {"group": group, "kind": kind, "version": version}
        item: Json = {}
        for verb in subresource.verbs:
            operation_id = (
                f"{WORDS[verb]}{self.id_part}{self.scope}{resource.kind}{subresource.name.capitalize()}"
            )
            item[METHODS[verb]] = self._operation(verb, gvk, operation_id)
        return {**item, "parameters": self._path_parameters(with_name=True)}

    def _component(self, api_version: str, kind: str) -> str:
        resource = self.definition.resource
        if self.definition.is_custom and api_version == resource.api_version:
            return custom_name(resource, kind)
        return definition_of(api_version, kind)

    def _list(self, operation_id: str) -> Json:
        resource = self.definition.resource
        name = self._component(resource.api_version, self.definition.kind_of_list)
        return {
            "tags": [self.tag],
            "operationId": operation_id,
            "parameters": LIST,
            "responses": _responses(name, ("200",)),
            "x-kubernetes-action": "list",
            "x-kubernetes-group-version-kind": self.gvk,
        }

    def _operation(self, verb: str, gvk: Json, operation_id: str, action: str = "") -> Json:
        api_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
        name = self._component(api_version, gvk["kind"])
        operation: Json = {"tags": [self.tag], "operationId": operation_id}
        if not name:  # connect: streams and proxies
            return {
                **operation,
                "responses": _responses("", ("200",)),
                "x-kubernetes-action": "connect",
                "x-kubernetes-group-version-kind": gvk,
            }
        codes = {"create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201"),
                 "delete": ("200", "202")}  # fmt: skip
        parameters = {"create": WRITE, "update": WRITE, "patch": [*WRITE, FORCE], "delete": DELETE}
        if verb in parameters:
            operation["parameters"] = [*parameters[verb], *LIST[1:7]] if action else parameters[verb]
        if verb in ("create", "update"):
            operation["requestBody"] = {"content": {"*/*": {"schema": reference(name)}}, "required": True}
        elif verb == "patch":
            patch = {"schema": reference(META + "Patch")}
            operation["requestBody"] = {"content": dict.fromkeys(self.patch_types, patch), "required": True}
        elif verb == "delete":
            operation["requestBody"] = {"content": {"*/*": {"schema": reference(META + "DeleteOptions")}}}
        answers_status = verb == "delete" and (action or not self.definition.returns_deleted)
        answer = META + "Status" if answers_status else name
        operation["responses"] = _responses(answer, codes.get(verb, ("200",)))
        operation["x-kubernetes-action"] = action or ACTIONS[verb]
        operation["x-kubernetes-group-version-kind"] = gvk
        return operation

    def _path_parameters(self, *, with_name: bool) -> list[Json]:
        names = ["name"] if with_name else []
        names += ["namespace"] if self.definition.resource.namespaced else []
        return [*(_path_parameter(name) for name in names), PRETTY]


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}


def _responses(name: str, codes: tuple[str, ...]) -> Json:
    schema: Json = reference(name) if name else {"type": "string"}
    content: Any = {kind: {"schema": schema} for kind in (ANSWER_TYPES if name else ("*/*",))}
    descriptions = {"200": "OK", "201": "Created", "202": "Accepted"}
    answers = {code: {"description": descriptions[code], "content": content} for code in codes}
    return {**answers, "401": {"description": "Unauthorized"}}
