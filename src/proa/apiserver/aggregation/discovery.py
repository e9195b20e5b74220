"""Bring a remote server's list of resources into the form of aggregated discovery.

Follows apiserver/pkg/endpoints (ConvertGroupVersionIntoToDiscovery).
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object


def aggregated_resources(document: Object) -> list[Object]:
    """Return the resources of an APIResourceList, each with its subresources; what is malformed is left out."""
    found: dict[str, Object] = {}
    listed = [
        r for r in document.get("resources") or () if isinstance(r, dict) and isinstance(r.get("name"), str)
    ]
    for resource in listed:
        if "/" not in resource["name"]:
            found[resource["name"]] = _resource(resource)
    for resource in listed:
        name, slash, subresource = resource["name"].partition("/")
        if not slash:
            continue
        parent = found.setdefault(
            name, {"resource": name, "scope": _scope(resource), "singularResource": "", "verbs": []}
        )
        made = {
            "subresource": subresource,
            "responseKind": _kind(resource),
            "verbs": resource.get("verbs") or [],
        }
        parent.setdefault("subresources", []).append(made)
    return list(found.values())


def _resource(resource: Object) -> Object:
    made: Object = {
        "resource": resource["name"],
        "responseKind": _kind(resource),
        "scope": _scope(resource),
        "singularResource": resource.get("singularName") or "",
        "verbs": resource.get("verbs") or [],
    }
    for key in ("shortNames", "categories"):
        if resource.get(key):
            made[key] = resource[key]
    return made


def _kind(resource: Object) -> Object:
    return {key: resource.get(key) or "" for key in ("group", "version", "kind")}


def _scope(resource: Object) -> Any:
    return "Namespaced" if resource.get("namespaced") else "Cluster"
