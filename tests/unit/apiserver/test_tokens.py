"""Tokens are explained to who asks, are good under every key of the cluster, and end as they should."""

from __future__ import annotations

import asyncio
import base64
import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proa.apiserver.app import ApiSettings
from proa.apiserver.authorization.bootstrap_policy import ensure_policy
from proa.apiserver.pki import KeyPair, ensure_pki
from proa.controllers import account_tokens
from proa.objects.token_keys import BadToken, TokenKeys

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ISSUER = "https://kubernetes.default.svc.cluster.local"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    folder = tmp_path_factory.mktemp("pki")
    return ensure_pki(folder, ["localhost"], datetime.datetime.now(datetime.UTC)).service_account


@pytest.fixture
def api(make_api: Any, keys: KeyPair) -> Any:
    made = make_api(ApiSettings(token_private_key=keys.key, token_public_key=keys.certificate))
    for name in ("default", "kube-system", "kube-public"):
        made.post("/api/v1/namespaces", {"metadata": {"name": name}})
    asyncio.run(ensure_policy(made.server.catalog))
    made.post(ACCOUNTS, {"metadata": {"name": "default"}})
    return made


def request_token(api: Any, **spec: Any) -> str:
    answer = api.post(f"{ACCOUNTS}/default/token", {"spec": spec})
    assert answer.status == 201, answer.raw
    return str(answer.json["status"]["token"])


def review(api: Any, token: str, *audiences: str) -> Any:
    answer = api.post(REVIEWS, {"spec": {"token": token, "audiences": list(audiences)}})
    assert answer.status == 201, answer.raw
    return answer.json["status"]


def test_a_review_tells_whom_a_token_names(api: Any) -> None:
    """[sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview
    [Conformance]"""
    status = review(api, request_token(api))
    assert status["authenticated"]
    assert status["audiences"] == [ISSUER]
    user = status["user"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    assert user["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


@pytest.mark.parametrize(
    ("asked", "meant", "common"),
    [(["vault"], ["vault"], ["vault"]), (["a", "b"], ["b", "c"], ["b"]), (["a"], ["b"], [])],
)
def test_a_review_is_for_the_audiences_that_both_name(
    api: Any, asked: list[str], meant: list[str], common: list[str]
) -> None:
    status = review(api, request_token(api, audiences=meant), *asked)
    assert status.get("audiences", []) == common
    if not common:
        assert status["user"] == {}
        why = 'token audiences ["b"] is invalid for the target audiences ["a"]'
        assert status["error"] == f"[invalid bearer token, {why}]"


def test_a_review_says_why_a_token_is_no_good(api: Any) -> None:
    token = request_token(api)
    assert review(api, "nonsense") == {"user": {}, "error": "invalid bearer token"}
    api.time -= 3600
    assert review(api, token)["error"] == "[invalid bearer token, service account token is not valid yet]"
    api.time += 2 * 3600
    assert review(api, token)["error"] == "[invalid bearer token, service account token has expired]"
    api.time -= 3600
    api.delete(f"{ACCOUNTS}/default")
    said = '[invalid bearer token, serviceaccounts "default" not found]'
    assert review(api, token)["error"] == said
    assert api.post(REVIEWS, {"spec": {"token": ""}}).status == 400


def test_a_token_ends_with_the_secret_or_node_that_it_is_bound_to(api: Any) -> None:
    api.post("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
    api.post("/api/v1/nodes", {"metadata": {"name": "n"}})
    for kind, path in (("Secret", "/api/v1/namespaces/default/secrets/s"), ("Node", "/api/v1/nodes/n")):
        name = path.rpartition("/")[2]
        token = request_token(api, boundObjectRef={"kind": kind, "apiVersion": "v1", "name": name})
        assert review(api, token)["authenticated"]
        api.delete(path)
        said = "[invalid bearer token, service account token has been invalidated]"
        assert review(api, token)["error"] == said


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (
            {"metadata": {"name": "other"}},
            422,
            'TokenRequest.authentication.k8s.io "default" is invalid: metadata.name: Invalid value: "other": must '
            "match the service account name if specified",
        ),
        ({"metadata": {"namespace": "x"}}, 422, "must match the service account namespace if specified"),
        ({"metadata": {"uid": "x"}}, 409, "the UID in the token request (x) does not match the UID of the"),
        ({"spec": {"expirationSeconds": 0}}, 422, "may not specify a duration less than 10 minutes"),
        ({"spec": {"expirationSeconds": (1 << 32) + 1}}, 422, "may not specify a duration larger than 2^32"),
    ],
)
def test_a_request_for_a_token_that_makes_no_sense_is_refused(
    api: Any, body: Any, code: int, said: str
) -> None:
    answer = api.post(f"{ACCOUNTS}/default/token", {"spec": {}, **body})
    assert answer.status == code, answer.raw
    assert said in answer.message


# --- keys -------------------------------------------------------------------------------------------------------


def test_the_issuers_keys_verify_its_tokens(api: Any) -> None:
    configuration = api.get("/.well-known/openid-configuration")
    assert configuration.headers["Cache-Control"] == "public, max-age=3600"
    found = configuration.json
    assert found["issuer"] == ISSUER
    assert found["jwks_uri"] == "https://127.0.0.1:6443/openid/v1/jwks"
    assert found["id_token_signing_alg_values_supported"] == ["ES256"]
    answer = api.get("/openid/v1/jwks")
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    (key,) = answer.json["keys"]
    head = orjson.loads(base64.urlsafe_b64decode(request_token(api).split(".")[0] + "=="))
    assert (key["kid"], key["alg"], key["kty"], key["use"]) == (head["kid"], "ES256", "EC", "sig")


def test_only_service_accounts_are_told_of_the_issuer_by_default(api: Any) -> None:
    token = f"Bearer {request_token(api)}"
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        assert asyncio.run(api.ask("GET", path, user=None)).status == 403
        assert asyncio.run(api.ask("GET", path, user=None, authorization=token)).status == 200


def test_after_a_change_of_keys_old_tokens_are_good_as_long_as_the_old_key_is_kept(
    keys: KeyPair, tmp_path: Path
) -> None:
    old = TokenKeys(keys.key, keys.certificate)
    token = old.sign({"sub": "x"})
    new = ec.generate_private_key(ec.SECP256R1())
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private, public = tmp_path / "sa.key", tmp_path / "sa.pub"
    private.write_bytes(new.private_bytes(serialization.Encoding.PEM, form, plain))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = new.public_key().public_bytes(serialization.Encoding.PEM, spki)
    public.write_bytes(pem + keys.certificate.read_bytes())
    both = TokenKeys(private, public)
    assert both.verify(token) == {"sub": "x"}
    assert both.verify(both.sign({"sub": "y"})) == {"sub": "y"}
    assert len(both.key_set()["keys"]) == 2
    public.write_bytes(pem)
    with pytest.raises(BadToken):
        TokenKeys(private, public).verify(token)


# --- Secrets that hold tokens -----------------------------------------------------------------------------------


def test_a_secrets_token_is_good_until_secret_or_account_goes(api: Any, keys: KeyPair) -> None:
    account = api.get(f"{ACCOUNTS}/default").json
    metadata = {"name": "t", "annotations": {account_tokens.ACCOUNT_NAME: "default"}}
    secrets = "/api/v1/namespaces/default/secrets"
    secret = api.post(secrets, {"metadata": metadata, "type": account_tokens.TYPE}).json
    token = TokenKeys(keys.key, None).sign(account_tokens.make_claims(secret, account))
    said = "[invalid bearer token, Token does not match server's copy]"
    assert review(api, token)["error"] == said
    encoded = base64.b64encode(token.encode()).decode()
    api.patch(f"{secrets}/t", {"data": {"token": encoded}})
    status = review(api, token)
    assert status["user"]["username"] == "system:serviceaccount:default:default"
    assert status["audiences"] == [ISSUER]
    api.time += 10 * 365 * 24 * 3600
    assert review(api, token)["authenticated"]
    api.delete(f"{secrets}/t")
    assert review(api, token)["error"] == "[invalid bearer token, Token has been invalidated]"


ACCOUNT: Any = {"metadata": {"name": "default", "namespace": "default", "uid": "u"}}


def secret(data: Any = None, **annotations: str) -> Any:
    named = {f"kubernetes.io/service-account.{key}": value for key, value in annotations.items()}
    return {"metadata": {"name": "t", "namespace": "default", "annotations": named}, "data": data}


FULL = {"ca.crt": "Q0E=", "namespace": "ZGVmYXVsdA==", "token": "dA=="}


@pytest.mark.parametrize(
    ("found", "account", "decided"),
    [
        (
            secret(name="default"),
            ACCOUNT,
            account_tokens.Plan(
                False,
                {"ca.crt": FULL["ca.crt"], "namespace": FULL["namespace"]},
                {account_tokens.ACCOUNT_UID: "u"},
                True,
            ),
        ),
        (secret(FULL, name="default", uid="u"), ACCOUNT, account_tokens.Plan()),
        (
            secret({**FULL, "ca.crt": "b2xk"}, name="default", uid="u"),
            ACCOUNT,
            account_tokens.Plan(False, {"ca.crt": "Q0E="}, {}, False),
        ),
        (secret(FULL, name="default", uid="other"), ACCOUNT, account_tokens.Plan(deletes=True)),
        (secret(FULL, name="default", uid="u"), None, account_tokens.Plan(deletes=True)),
        (None, ACCOUNT, account_tokens.Plan()),
    ],
    ids=["new", "full", "old authority", "of another account", "of no account", "gone"],
)
def test_a_secret_gets_what_it_lacks_and_goes_with_its_account(
    found: Any, account: Any, decided: account_tokens.Plan
) -> None:
    assert account_tokens.plan(found, account, "CA") == decided
