"""Bootstrap tokens are read from their Secrets as upstream reads them, and sign as upstream signs."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from proa.objects.bootstrap_tokens import (
    BootstrapToken,
    is_signed,
    make_secret,
    read_token,
    sign,
    split_token,
)

NOW = 1_800_000_000.0
TOKEN = BootstrapToken(
    "abcdef",
    "0123456789abcdef",
    NOW,
    ("authentication", "signing"),
    ("system:bootstrappers:kubeadm:default-node-token",),
    "for a test",
)


def changed(**data: str | None) -> dict[str, Any]:
    """Return the token's Secret with other values; None takes one away. `type` and `name` are the Secret's own."""
    secret = make_secret(TOKEN)
    secret["type"] = data.pop("type", secret["type"])
    secret["metadata"]["name"] = data.pop("name", secret["metadata"]["name"])
    for key, value in data.items():
        key = key.replace("_", "-")
        if value is None:
            del secret["data"][key]
        else:
            secret["data"][key] = base64.b64encode(value.encode()).decode()
    return secret


def test_a_token_is_read_back_as_it_was_made() -> None:
    assert read_token(make_secret(TOKEN)) == TOKEN


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"type": "Opaque"}, id="another-type"),
        pytest.param({"name": "bootstrap-token-ghijkl"}, id="another-name"),
        pytest.param({"token_id": "short"}, id="no-id"),
        pytest.param({"token_secret": "0123456789ABCDEF"}, id="no-secret"),
        pytest.param({"token_secret": None}, id="without-secret"),
        pytest.param({"auth_extra_groups": "system:masters"}, id="a-group-of-others"),
        pytest.param({"auth_extra_groups": "system:bootstrappers:x,system:nodes"}, id="one-group-of-others"),
    ],
)
def test_a_secret_that_is_no_token_is_none(data: dict[str, str | None]) -> None:
    assert read_token(changed(**data)) is None


@pytest.mark.parametrize(
    ("expiration", "is_expired"),
    [
        pytest.param("2027-01-15T08:00:00Z", True, id="now"),
        pytest.param("2027-01-15T08:00:01Z", False, id="later"),
        pytest.param("2027-01-15T08:59:59+01:00", True, id="earlier-elsewhere"),
        pytest.param("tomorrow", True, id="no-time"),
        pytest.param(None, False, id="never"),
    ],
)
def test_a_token_ends_at_its_time_and_at_once_where_that_cannot_be_read(
    expiration: str | None, is_expired: bool
) -> None:
    token = read_token(changed(expiration=expiration))
    assert token is not None
    assert token.is_expired(NOW) == is_expired


def test_usages_count_where_they_are_true() -> None:
    token = read_token(changed(usage_bootstrap_signing="yes", usage_bootstrap_authentication="true"))
    assert token is not None
    assert token.usages == ("authentication",)


@pytest.mark.parametrize(
    "text", ["", "abcdef", "abcdef.", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef\n"]
)
def test_what_has_not_a_tokens_form_is_none(text: str) -> None:
    assert split_token(text) is None


def test_a_signature_is_that_of_cluster_bootstrap() -> None:
    """The expectation is client-side knowledge: cluster-bootstrap/token/jws/jws_test.go."""
    signed = sign("Hello from the other side. I must have called a thousand times.", "joshua", "my secret")
    header, payload, mac = signed.split(".")
    assert (base64.b64decode(header), payload, len(mac)) == (b'{"alg":"HS256","kid":"joshua"}', "", 43)
    assert is_signed("content", sign("content", "abcdef", "secret"), "abcdef", "secret")
    for other in (
        ("changed", "abcdef", "secret"),
        ("content", "ghijkl", "secret"),
        ("content", "abcdef", "guess"),
    ):
        assert not is_signed(other[0], sign("content", "abcdef", "secret"), *other[1:])
