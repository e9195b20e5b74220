"""Make the definition of a kind called Boat, and boats."""

from __future__ import annotations

from typing import Any

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BOATS = "/apis/sea.example/v1/namespaces/default/boats"
SPEC = {
    "type": "object",
    "required": ["masts"],
    "properties": {
        "masts": {"type": "integer", "minimum": 0},
        "hull": {"type": "string", "default": "single"},
        "crew": {"type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 5}},
    },
}
STATUS = {"type": "object", "properties": {"masts": {"type": "integer"}, "port": {"type": "string"}}}


def make_schema(spec: Any = None, **root: Any) -> Any:
    properties = {"spec": SPEC if spec is None else spec, "status": STATUS}
    return {"openAPIV3Schema": {"type": "object", "properties": properties, **root}}


def make_version(name: str = "v1", *, storage: bool = True, **fields: Any) -> Any:
    return {"name": name, "served": True, "storage": storage, "schema": make_schema(), **fields}


def make_definition(*versions: Any, names: Any = None, **spec: Any) -> Any:
    names = {"plural": "boats", "kind": "Boat", **(names or {})}
    return {
        "metadata": {"name": f"{names['plural']}.{spec.get('group', 'sea.example')}"},
        "spec": {
            "group": "sea.example",
            "scope": "Namespaced",
            "names": names,
            "versions": list(versions) or [make_version()],
            **spec,
        },
    }


def make_boat(name: str = "dhow", version: str = "v1", **spec: Any) -> Any:
    return {
        "apiVersion": f"sea.example/{version}",
        "kind": "Boat",
        "metadata": {"name": name},
        "spec": {"masts": 1, **spec},
    }
