"""Protobuf bodies become what their JSON would have been; hostile ones are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.apiserver.protobuf.decode import MAGIC, decode_object
from proa.objects.errors import BadRequest


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(*fields: tuple[int, Any]) -> bytes:
    """Return a message: an int is a varint, text and bytes have a length."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def body(api_version: str, kind: str, *fields: tuple[int, Any]) -> bytes:
    """Return a whole body, as client-go sends it."""
    return MAGIC + message((1, message((1, api_version), (2, kind))), (2, message(*fields)), (3, ""), (4, ""))


def test_a_namespace_as_kubectl_creates_it() -> None:
    metadata = message((1, "team"), (2, ""), (3, ""), (4, ""), (5, ""), (6, ""), (7, 0), (8, b""))
    sent = body("v1", "Namespace", (1, metadata), (2, b""), (3, message((1, ""))))
    assert decode_object(sent, "Namespace") == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "team"},
    }


def test_pointers_keep_their_zero_and_other_fields_do_not() -> None:
    spec = message((1, 0), (5, 0), (7, 0))
    sent = decode_object(body("apps/v1", "Deployment", (2, spec)), "Deployment")
    assert sent["spec"] == {"replicas": 0}


def test_maps_bytes_and_inline_fields() -> None:
    secret = body("v1", "Secret", (2, message((1, "key"), (2, b"\x00\xff"))), (3, "Opaque"))
    assert decode_object(secret, "Secret")["data"] == {"key": "AP8="}
    empty_dir = message((1, "tmp"), (2, message((2, message((1, ""))))))
    pod = decode_object(body("v1", "Pod", (2, message((1, empty_dir)))), "Pod")
    assert pod["spec"]["volumes"] == [{"name": "tmp", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("port", "read"),
    [(message((1, 0), (2, 8080), (3, "")), 8080), (message((1, 1), (2, 0), (3, "http")), "http")],
    ids=["a number", "a name"],
)
def test_int_or_string(port: bytes, read: object) -> None:
    spec = message((1, message((1, ""), (2, "TCP"), (3, 80), (4, port))))
    service = decode_object(body("v1", "Service", (2, spec)), "Service")
    assert service["spec"]["ports"] == [{"protocol": "TCP", "port": 80, "targetPort": read}]


def test_times_and_negative_numbers() -> None:
    metadata = message((1, "x"), (9, message((1, 1_700_000_000), (2, 0))))
    sent = decode_object(body("v1", "ConfigMap", (1, metadata)), "ConfigMap")
    assert sent["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:20Z"
    replicas = decode_object(body("apps/v1", "Deployment", (2, message((1, -1)))), "Deployment")
    assert replicas["spec"]["replicas"] == -1


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{}",
        MAGIC + b"\x0a\xff\xff\xff\xff\x0f",
        MAGIC + b"\x0a" + b"\xff" * 11,
        body("v1", "Unheard"),
        body("v1", "Namespace", (1, message((1, b"\xff\xfe")))),
    ],
    ids=["empty", "JSON", "length past the end", "endless number", "unknown kind", "not UTF-8"],
)
def test_what_is_not_a_message_is_a_bad_request(sent: bytes) -> None:
    with pytest.raises(BadRequest, match="unrecognized"):
        decode_object(sent, "Namespace")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_bad_request(data: bytes) -> None:
    wrapped = MAGIC + message((1, message((1, "v1"), (2, "Pod"))), (2, data))
    for sent in (data, MAGIC + data, wrapped):
        try:
            assert isinstance(decode_object(sent, "Pod"), dict)
        except BadRequest:
            continue


@pytest.mark.parametrize("api_version", ["v1", "apps/v1", "helm.example/v1"])
def test_delete_options_are_known_in_every_group(api_version: str) -> None:
    sent = body(api_version, "DeleteOptions", (1, 0), (4, "Background"))
    assert decode_object(sent, "DeleteOptions") == {
        "apiVersion": api_version,
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }
