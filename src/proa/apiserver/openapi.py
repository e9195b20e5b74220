"""Tell clients the shape of every kind: /openapi/v3, an index of one document a group version, and /openapi/v2.

Documents are made when they are first asked for, and kept. Their URLs carry a hash, so that clients may keep them
too. Follows kube-openapi pkg/handler3 and pkg/handler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from proa.apiserver.openapi_paths import make_paths
from proa.apiserver.openapi_schemas import META, definition_of, make_components
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Request, Response
from proa.objects.schemas.load import TABLE

JSON = "application/json"
INFO = {"title": "Kubernetes", "version": "v1.36.2"}
ALWAYS = tuple(META + kind for kind in ("DeleteOptions", "Patch", "Status", "WatchEvent"))


def serve(request: Request, parts: list[str], catalog: Catalog) -> Response | None:
    """Answer /openapi/…, of which `parts` are the rest; None where there is no such document."""
    if request.method not in ("GET", "HEAD"):
        return Response(405, {"Content-Type": "text/plain; charset=utf-8"}, b"Method Not Allowed\n")
    documents = _documents(catalog)
    if parts == ["v2"]:
        return _answer(request, documents.version2())
    if parts == ["v3"]:
        return _answer(request, documents.index())
    if not parts or parts[0] != "v3":
        return None
    return _serve_document(request, "/".join(parts[1:]), documents)


def _serve_document(request: Request, path: str, documents: Documents) -> Response | None:
    if path not in documents.paths:
        return None
    hashed = documents.hash_of(path)
    asked = request.parameter("hash")
    if asked and asked != hashed:
        return Response(301, {"Location": f"/openapi/v3/{path}?hash={hashed}"})
    response = _answer(request, documents.document(path), hashed)
    if asked:
        response.headers["Cache-Control"] = "public, immutable"
        response.headers["Expires"] = "Thu, 31 Dec 2037 23:55:55 GMT"
    return response


def _answer(request: Request, body: bytes, hashed: str = "") -> Response:
    etag = f'"{hashed or hashlib.sha256(body).hexdigest().upper()}"'
    headers = {"Content-Type": JSON, "Etag": etag, "Vary": "Accept"}
    if request.headers.get("if-none-match") == etag:
        return Response(304, headers)
    return Response(200, headers, body)


class Documents:
    """The documents of a set of definitions, made when first asked for."""

    def __init__(self, definitions: Iterable[ResourceDefinition]) -> None:
        self._definitions = tuple(definitions)
        self._made: dict[str, bytes] = {}
        self.paths: dict[str, list[ResourceDefinition]] = {}
        """What each document covers: its path, such as "apis/apps/v1", and its resources."""
        for definition in self._definitions:
            resource = definition.resource
            root = f"apis/{resource.group}" if resource.group else "api"
            self.paths.setdefault(f"{root}/{resource.version}", []).append(definition)

    def index(self) -> bytes:
        """Return the list of documents, with the URL of each."""
        urls = {
            p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={self.hash_of(p)}"} for p in sorted(self.paths)
        }
        return orjson.dumps({"paths": urls})

    def hash_of(self, path: str) -> str:
        """Return a hash that changes with the document; of what it is made from, not of the document itself."""
        facts = [
            (d.resource.plural, d.verbs, [(s.name, s.kind, s.verbs) for s in d.subresources])
            for d in self.paths[path]
        ]
        return hashlib.sha512(_table_digest() + repr(facts).encode()).hexdigest().upper()

    def document(self, path: str) -> bytes:
        """Return the OpenAPI v3 document of one group version."""
        made = self._made.get(path)
        if made is None:
            made = self._made[path] = orjson.dumps(self._make(self.paths[path]))
        return made

    def _make(self, definitions: list[ResourceDefinition]) -> dict[str, Any]:
        paths = {path: item for d in definitions for path, item in make_paths(d).items()}
        components = make_components(_names(definitions), self._group_versions())
        return {
            "openapi": "3.0.0",
            "info": INFO,
            "paths": dict(sorted(paths.items())),
            "components": {"schemas": components},
        }

    def version2(self) -> bytes:
        """Return the Swagger 2.0 document: the definitions of every kind, for clients that look kinds up there."""
        made = self._made.get("v2")
        if made is None:
            components = make_components(_names(self._definitions), self._group_versions())
            definitions = {name: _as_version2(component) for name, component in components.items()}
            swagger = {"swagger": "2.0", "info": INFO, "paths": {}, "definitions": definitions}
            made = self._made["v2"] = orjson.dumps(swagger)
        return made

    def _group_versions(self) -> list[tuple[str, str]]:
        return sorted({(d.resource.group, d.resource.version) for d in self._definitions})


def _names(definitions: Iterable[ResourceDefinition]) -> set[str]:
    names = set(ALWAYS)
    for definition in definitions:
        resource = definition.resource
        names |= {definition.object_schema.name, definition_of(resource.api_version, resource.kind + "List")}
        for subresource in definition.subresources:
            names.add(definition_of(subresource.api_version or resource.api_version, subresource.kind))
    return names - {""}


def _as_version2(node: Any) -> Any:
    """Return a v3 schema as Swagger 2.0 writes it: plain references, and no oneOf."""
    if isinstance(node, list):
        return [_as_version2(item) for item in node]
    if not isinstance(node, dict):
        return node
    written = {key: _as_version2(value) for key, value in node.items() if key not in ("allOf", "oneOf")}
    if "oneOf" in node:
        written["type"] = "string"
    for part in node.get("allOf", ()):
        written |= _as_version2(part)
    if isinstance(written.get("$ref"), str):
        written["$ref"] = written["$ref"].replace("#/components/schemas/", "#/definitions/")
    return written


_CACHE: WeakKeyDictionary[Catalog, tuple[int, Documents]] = WeakKeyDictionary()


def _documents(catalog: Catalog) -> Documents:
    generation, documents = _CACHE.get(catalog, (-1, None))
    if documents is None or generation != catalog.generation:
        definitions = (r.definition for found in catalog.group_versions.values() for r in found.values())
        documents = Documents(definitions)
        _CACHE[catalog] = (catalog.generation, documents)
    return documents


@lru_cache(maxsize=1)
def _table_digest() -> bytes:
    return hashlib.sha512(TABLE.read_bytes()).digest()
