"""Say in Swagger 2.0 what the OpenAPI v3 documents say, for clients that know no other: kube-openapi pkg/builder."""

from __future__ import annotations

from typing import Any

from proa.apiserver.openapi_schemas import Json

_APART = frozenset(("allOf", "oneOf", "properties"))
_METHODS = frozenset(("get", "put", "post", "patch", "delete"))


def schema_in_version2(node: Any) -> Any:
    """Return a v3 schema as Swagger 2.0 writes it: plain references, and no oneOf."""
    if isinstance(node, list):
        return [schema_in_version2(item) for item in node]
    if not isinstance(node, dict):
        return node
    written = {key: schema_in_version2(value) for key, value in node.items() if key not in _APART}
    if "properties" in node:  # by names that may be those of a schema's own fields
        written["properties"] = {name: schema_in_version2(part) for name, part in node["properties"].items()}
    if "oneOf" in node:
        written["type"] = "string"
    for part in node.get("allOf", ()):
        written |= schema_in_version2(part)
    if isinstance(written.get("$ref"), str):
        written["$ref"] = written["$ref"].replace("#/components/schemas/", "#/definitions/")
    return written


def path_in_version2(item: Json) -> Json:
    """Return a path's operations as Swagger 2.0 writes them: bodies are parameters, and media types are listed."""
    return {
        key: _operation(value) if key in _METHODS else [_parameter(p) for p in value]
        for key, value in item.items()
    }


def _operation(operation: Json) -> Json:
    body = operation.get("requestBody")
    parameters = [_parameter(p) for p in operation.get("parameters", ())]
    consumed = ["*/*"]
    if body is not None:
        content: Json = body["content"]
        consumed = list(content)
        schema = schema_in_version2(next(iter(content.values()))["schema"])
        required = {"required": True} if body.get("required") else {}
        parameters.insert(0, {"name": "body", "in": "body", **required, "schema": schema})
    responses, produced = {}, ["*/*"]
    for code, answer in operation["responses"].items():
        said = {"description": answer["description"]}
        if "content" in answer:
            produced = list(answer["content"])
            said["schema"] = schema_in_version2(next(iter(answer["content"].values()))["schema"])
        responses[code] = said
    kept = {k: v for k, v in operation.items() if k not in ("parameters", "requestBody", "responses")}
    return {
        **kept,
        "consumes": consumed,
        "produces": produced,
        "schemes": ["https"],
        "parameters": parameters,
        "responses": responses,
    }


def _parameter(parameter: Json) -> Json:
    kept = {key: value for key, value in parameter.items() if key != "schema"}
    return {**kept, **parameter["schema"]}
