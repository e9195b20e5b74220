"""What upstream's conformance suite asks of service accounts' tokens and their issuer (test/e2e/auth)."""

from __future__ import annotations

import asyncio
import base64
import datetime
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from proa.apiserver.app import ApiServer, ApiSettings
from proa.apiserver.authorization.bootstrap_policy import ensure_policy
from proa.apiserver.pki import ensure_pki
from proa.apiserver.resources import DEFINITIONS
from proa.client.protocol import Request
from proa.store.memory import MemoryStore

ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


@pytest.fixture
def issuing(api: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that has keys for tokens, and the default roles."""
    folder = tmp_path_factory.mktemp("pki")
    keys = ensure_pki(folder, ["localhost"], datetime.datetime.now(datetime.UTC)).service_account
    settings = ApiSettings(token_private_key=keys.key, token_public_key=keys.certificate)
    api.server = ApiServer(MemoryStore(), DEFINITIONS, settings)
    for name in ("default", "kube-system", "kube-public"):
        api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    asyncio.run(ensure_policy(api.server.catalog))
    api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    return api


def as_account(api: Any, token: str, path: str) -> Any:
    """Return the answer to a GET by whom a token names."""
    request = Request("GET", path, {}, {"authorization": f"Bearer {token}"}, b"", None)
    answer = asyncio.run(api.server.handle(request))
    assert answer.status == 200, answer.body
    return orjson.loads(answer.body)


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_discovery_of_the_issuer(issuing: Any) -> None:
    """[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer [Conformance]"""  # noqa: E501
    # given: a token as a pod has it, for an audience of its own
    spec = {"audiences": ["oidc-discovery-test"], "expirationSeconds": 3600}
    audience_token = issuing.post(f"{ACCOUNT}/token", {"spec": spec})["status"]["token"]
    token = issuing.post(f"{ACCOUNT}/token", {"spec": {}})["status"]["token"]
    # when
    claims = orjson.loads(decode(audience_token.split(".")[1]))
    configuration = as_account(issuing, token, "/.well-known/openid-configuration")
    (key,) = as_account(issuing, token, "/openid/v1/jwks")["keys"]
    # then
    assert configuration["issuer"] == claims["iss"]
    assert configuration["jwks_uri"].endswith("/openid/v1/jwks")
    assert claims["aud"] == ["oidc-discovery-test"]
    numbers = (int.from_bytes(decode(key[part]), "big") for part in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(*numbers, curve=ec.SECP256R1()).public_key()
    signed, _, signature = audience_token.rpartition(".")
    raw = decode(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))


def test_account_lifecycle(issuing: Any) -> None:
    """[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]"""
    path = "/api/v1/namespaces/default/serviceaccounts"
    made = issuing.post(path, {"metadata": {"name": "testserviceaccount", "labels": {"static": "true"}}})
    mine = f"{path}/testserviceaccount"
    assert (
        issuing.patch(mine, {"automountServiceAccountToken": False})["automountServiceAccountToken"] is False
    )
    assert issuing.names("/api/v1/serviceaccounts?labelSelector=static=true") == ["testserviceaccount"]
    issuing.expect(200, "DELETE", f"{path}?labelSelector=static=true")
    changes = issuing.history(f"{path}?labelSelector=static=true", made, 2)
    assert [kind for kind, _ in changes] == ["MODIFIED", "DELETED"]


def test_update_of_an_account(issuing: Any) -> None:
    """[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]"""
    path = "/api/v1/namespaces/default/serviceaccounts"
    made = issuing.post(path, {"metadata": {"name": "e2e"}, "automountServiceAccountToken": False})
    assert made["automountServiceAccountToken"] is False
    changed = issuing.put(f"{path}/e2e", {**made, "automountServiceAccountToken": True})
    assert changed["automountServiceAccountToken"] is True
