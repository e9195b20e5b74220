"""Tell clients the shape of every kind: /openapi/v3, an index of one document a group version, and /openapi/v2.

Documents are made when they are first asked for, and kept. Their URLs carry a hash, so that clients may keep them
too. Follows kube-openapi pkg/handler3 and pkg/handler.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from proa.apiserver.openapi_custom import custom_components
from proa.apiserver.openapi_paths import ISSUER, discovered_name, make_discovery_paths, make_paths
from proa.apiserver.openapi_schemas import definition_of, make_components
from proa.apiserver.openapi_version2 import path_in_version2, schema_in_version2
from proa.apiserver.pace import aside
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Request, Response
from proa.objects.schemas.load import META, TABLE

JSON = "application/json"
INFO = {"title": "Kubernetes", "version": "v1.36.2"}
ALWAYS = tuple(META + kind for kind in ("DeleteOptions", "Patch", "Status", "WatchEvent"))


async def serve(request: Request, parts: list[str], catalog: Catalog) -> Response | None:
    """Answer /openapi/…, of which `parts` are the rest; None where there is no such document."""
    if request.method not in ("GET", "HEAD"):
        return Response(405, {"Content-Type": "text/plain; charset=utf-8"}, b"Method Not Allowed\n")
    documents = _documents(catalog)
    if parts == ["v2"]:
        return await _serve_version2(request, documents)
    if parts == ["v3"]:
        response = _answer(request, await aside(documents.index))
        response.headers["Content-Type"] = "text/plain; charset=utf-8"  # as upstream's, which is JSON too
        return response
    if not parts or parts[0] != "v3":
        return None
    return await _serve_document(request, "/".join(parts[1:]), documents)


async def _serve_version2(request: Request, documents: Documents) -> Response:
    """Answer in JSON, or in protobuf where that is what the client names first."""
    from proa.apiserver.openapi_protobuf import ACCEPTED, MEDIA_TYPE

    first = request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip()
    if first not in ACCEPTED:
        return _answer(request, await aside(documents.version2))
    response = _answer(request, await aside(documents.version2_protobuf))
    response.headers["Content-Type"] = MEDIA_TYPE
    return response


async def serve_index(request: Request, catalog: Catalog, more: Mapping[str, str]) -> Response:
    """Answer /openapi/v3 with documents of other servers too: `more` are their paths and URLs."""
    index = orjson.loads(await aside(_documents(catalog).index))
    index["paths"] |= {path: {"serverRelativeURL": url} for path, url in more.items()}
    response = _answer(request, orjson.dumps(index))
    response.headers["Content-Type"] = "text/plain; charset=utf-8"
    return response


async def _serve_document(request: Request, path: str, documents: Documents) -> Response | None:
    if path not in documents.paths:
        return None
    hashed = await aside(documents.hash_of, path)
    asked = request.parameter("hash")
    if asked and asked != hashed:
        return Response(301, {"Location": f"/openapi/v3/{path}?hash={hashed}"})
    response = _answer(request, await aside(documents.document, path), hashed)
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
    """The documents of a set of definitions, made when first asked for; what `before` had made is used again."""

    def __init__(self, definitions: Iterable[ResourceDefinition], before: Documents | None = None) -> None:
        self.paths: dict[str, list[ResourceDefinition]] = {}
        """What each document covers: its path, such as "apis/apps/v1", and its resources."""
        for definition in definitions:
            resource = definition.resource
            root = f"apis/{resource.group}" if resource.group else "api"
            self.paths.setdefault(f"{root}/{resource.version}", []).append(definition)
            self.paths.setdefault(root, [])
        self.paths |= {path: [] for path in ("apis", "version", *ISSUER) if self.paths}
        self._made: dict[str, bytes] = {}
        self._hashes: dict[str, str] = {}
        if before is not None:
            for path in [path for path, had in before.paths.items() if _same(had, self.paths.get(path))]:
                self._hashes |= {path: before._hashes[path]} if path in before._hashes else {}
                self._made |= {path: before._made[path]} if path in before._made else {}

    def index(self) -> bytes:
        """Return the list of documents, with the URL of each."""
        urls = {
            p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={self.hash_of(p)}"} for p in sorted(self.paths)
        }
        return orjson.dumps({"paths": urls})

    def hash_of(self, path: str) -> str:
        """Return a hash that changes with the document; of what it is made from, not of the document itself."""
        found = self._hashes.get(path)
        if found is None:
            facts = [
                (d.resource, d.verbs, d.kind_of_list, [(s.name, s.kind, s.verbs) for s in d.subresources])
                for d in self.paths[path]
            ]
            digest = hashlib.sha512(_table_digest() + path.encode() + repr(facts).encode())
            for definition in self.paths[path]:
                if definition.is_custom:
                    digest.update(orjson.dumps(definition.openapi_schema))
            found = self._hashes[path] = digest.hexdigest().upper()
        return found

    def document(self, path: str) -> bytes:
        """Return the OpenAPI v3 document of one group version, or of what leads there."""
        made = self._made.get(path)
        if made is None:
            made = self._made[path] = orjson.dumps(self._make(path))
        return made

    def _make(self, path: str) -> dict[str, Any]:
        definitions = self.paths[path]
        paths = {path: item for d in definitions for path, item in make_paths(d).items()}
        paths |= make_discovery_paths(path)
        names = {discovered_name(path)} - {""} | (_names(definitions) if definitions else set())
        components = make_components(names, self._group_versions())
        for definition in definitions:
            if definition.is_custom:
                components |= custom_components(definition)
        return {
            "openapi": "3.0.0",
            "info": INFO,
            "paths": dict(sorted(paths.items())),
            "components": {"schemas": dict(sorted(components.items()))},
        }

    def version2_protobuf(self) -> bytes:
        """Return the Swagger 2.0 document as gnostic's protobuf, all that kubectl takes."""
        from proa.apiserver.openapi_protobuf import encode_document

        made = self._made.get("v2 protobuf")
        if made is None:
            made = self._made["v2 protobuf"] = encode_document(orjson.loads(self.version2()))
        return made

    def version2(self) -> bytes:
        """Return the Swagger 2.0 document: every kind and path, for clients that look there."""
        made = self._made.get("v2")
        if made is None:
            every = [definition for found in self.paths.values() for definition in found]
            names = _names(every) | {discovered_name(path) for path in self.paths} - {""}
            components = make_components(names, self._group_versions())
            paths: dict[str, Any] = {}
            for definition in every:
                paths |= {path: path_in_version2(item) for path, item in make_paths(definition).items()}
                if definition.is_custom:
                    components |= custom_components(definition, version2=True)
            for path in self.paths:
                found = make_discovery_paths(path)
                paths |= {path: path_in_version2(item) for path, item in found.items()}
            definitions = {name: schema_in_version2(component) for name, component in components.items()}
            swagger = {
                "swagger": "2.0",
                "info": INFO,
                "paths": dict(sorted(paths.items())),
                "definitions": dict(sorted(definitions.items())),
            }
            made = self._made["v2"] = orjson.dumps(swagger)
        return made

    def _group_versions(self) -> list[tuple[str, str]]:
        every = (d.resource for found in self.paths.values() for d in found if not d.is_custom)
        return sorted({(resource.group, resource.version) for resource in every})


def _same(some: list[ResourceDefinition], others: list[ResourceDefinition] | None) -> bool:
    return others is not None and len(some) == len(others) and all(map(operator.is_, some, others))


def _names(definitions: Iterable[ResourceDefinition]) -> set[str]:
    """Return the built-in components that the documents of some resources refer to."""
    names = set(ALWAYS)
    for definition in definitions:
        resource = definition.resource
        if not definition.is_custom:
            list_name = definition_of(resource.api_version, definition.kind_of_list)
            names |= {definition.object_schema.name, list_name}
        else:
            names |= {META + "ObjectMeta", META + "ListMeta"}
        for subresource in definition.subresources:
            names.add(definition_of(subresource.api_version or resource.api_version, subresource.kind))
    return names - {""}


_CACHE: WeakKeyDictionary[Catalog, tuple[int, Documents]] = WeakKeyDictionary()


def _documents(catalog: Catalog) -> Documents:
    generation, documents = _CACHE.get(catalog, (-1, None))
    if documents is None or generation != catalog.generation:
        definitions = (r.definition for found in catalog.group_versions.values() for r in found.values())
        documents = Documents(definitions, documents)
        _CACHE[catalog] = (catalog.generation, documents)
    return documents


@lru_cache(maxsize=1)
def _table_digest() -> bytes:
    return hashlib.sha512(TABLE.read_bytes()).digest()
