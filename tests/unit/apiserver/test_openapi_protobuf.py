"""The Swagger document as protobuf says what the JSON one says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proa.apiserver.openapi_protobuf import ACCEPTED, MEDIA_TYPE, encode_document


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield each field's number and what it holds."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == 0:
            value, at = read_varint(data, at)
            yield key >> 3, value
        else:
            size, at = (8, at) if key & 7 == 1 else read_varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size


def field(data: bytes, *numbers: int) -> Any:
    """Return what is at a path of field numbers, the first of each."""
    for number in numbers:
        data = next(value for n, value in fields(data) if n == number)
    return data


def named(data: bytes, number: int) -> dict[str, bytes]:
    """Return a map as gnostic writes it."""
    return {field(item, 1).decode(): field(item, 2) for n, item in fields(data) if n == number}


def test_a_document_is_read_back() -> None:
    schema = {
        "type": "object",
        "description": "a ship",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 300},
            "crew": {"type": "array", "items": {"$ref": "#/definitions/person"}},
            "cargo": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0.5}},
        },
        "x-kubernetes-group-version-kind": [{"group": "sea", "version": "v1", "kind": "Ship"}],
    }
    patch = {
        "operationId": "patchShip",
        "parameters": [
            {"name": "body", "in": "body", "required": True, "schema": {"type": "object"}},
            {"name": "fieldValidation", "in": "query", "type": "string"},
        ],
        "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/ship"}}},
    }
    document = {
        "swagger": "2.0",
        "info": {"title": "T", "version": "1"},
        "paths": {"/ships": {"patch": patch}},
        "definitions": {"ship": schema},
    }
    data = encode_document(document)
    assert (field(data, 1), field(data, 2, 1), field(data, 2, 2)) == (b"2.0", b"T", b"1")
    ship = named(field(data, 9), 1)["ship"]
    assert (field(ship, 4), field(ship, 19), field(ship, 22, 1)) == (b"a ship", b"name", b"object")
    properties = named(field(ship, 25), 1)
    assert field(properties["name"], 11) == 300
    assert field(properties["crew"], 23, 1, 1) == b"#/definitions/person"
    assert field(properties["cargo"], 21, 1, 22, 1) == b"integer"
    assert b'"kind":"Ship"' in field(named(ship, 31)["x-kubernetes-group-version-kind"], 2)
    operation = field(named(field(data, 8), 2)["/ships"], 8)
    assert field(operation, 5) == b"patchShip"
    body, query = [value for number, value in fields(operation) if number == 8]
    assert (field(body, 1, 1, 2), field(query, 1, 2, 3, 4)) == (b"body", b"fieldValidation")


def test_it_is_sent_to_who_asks_for_it(api: Any) -> None:
    for media_type in ACCEPTED:
        answer = api.get("/openapi/v2", accept=media_type)
        assert (answer.status, answer.headers["Content-Type"]) == (200, MEDIA_TYPE)
        definitions = named(field(answer.raw, 9), 1)
        assert definitions.keys() == api.get("/openapi/v2").json["definitions"].keys()
