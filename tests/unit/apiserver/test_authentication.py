"""Who may come in: certificates, service-account tokens bound to what exists, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import datetime

import orjson
import pytest

from proa.apiserver.app import ApiSettings
from proa.apiserver.authorization.bootstrap_policy import ensure_policy
from proa.apiserver.pki import ensure_pki
from proa.httpd.certificates import user_of_certificate

TOKENS = "/api/v1/namespaces/default/serviceaccounts/default/token"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return ensure_pki(tmp_path_factory.mktemp("pki"), ["localhost"], datetime.datetime.now(datetime.UTC))


@pytest.fixture
def api(make_api, pki):
    keys = pki.service_account
    made = make_api(ApiSettings(token_private_key=keys.key, token_public_key=keys.certificate))
    for name in ("default", "kube-system", "kube-public"):
        made.post("/api/v1/namespaces", {"metadata": {"name": name}})
    asyncio.run(ensure_policy(made.server.catalog))
    made.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    return made


def request_token(api, **spec) -> str:
    answer = api.post(TOKENS, {"spec": spec})
    assert answer.status == 201, answer.raw
    return answer.json["status"]["token"]


def come_in(api, token: str) -> int:
    answer = asyncio.run(api.ask("GET", "/api", user=None, authorization=f"Bearer {token}"))
    return answer.status


def claims_of(token: str):
    payload = token.split(".")[1]
    return orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_without_credentials_only_the_open_paths_answer(api):
    def status(path):
        return asyncio.run(api.ask("GET", path, user=None)).status

    assert [status(p) for p in ("/healthz", "/livez", "/readyz", "/version")] == [200] * 4
    closed = ("/api", "/metrics", "/api/v1/pods", "/openapi/v3", "/livez/ping", "/nope")
    assert [status(p) for p in closed] == [403] * 6


def test_a_wrong_token_is_refused_even_where_none_is_needed(api):
    answer = asyncio.run(api.ask("GET", "/version", user=None, authorization="Bearer nope"))
    assert (answer.status, answer.message, answer.json["reason"]) == (401, "Unauthorized", "Unauthorized")


def test_a_service_accounts_token_is_good_for_an_hour(api):
    token = request_token(api)
    assert come_in(api, token) == 200
    claims = claims_of(token)
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("system:serviceaccount:default:default", 3600)
    api.time += 3601
    assert come_in(api, token) == 401


def test_it_ends_with_its_account_even_if_another_takes_the_name(api):
    token = request_token(api)
    assert come_in(api, token) == 200
    api.delete("/api/v1/namespaces/default/serviceaccounts/default")
    assert come_in(api, token) == 401
    api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    assert come_in(api, token) == 401


def test_a_bound_token_ends_with_its_pod(api):
    api.pod("p")
    token = request_token(
        api, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"}, expirationSeconds=3607
    )
    claims = claims_of(token)
    assert claims["kubernetes.io"]["pod"]["name"] == "p"
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600, (
        "mounted tokens live on for clients that never reload"
    )
    assert come_in(api, token) == 200
    api.delete("/api/v1/namespaces/default/pods/p")
    assert come_in(api, token) == 401


def test_a_token_for_another_audience_is_not_for_us(api):
    assert come_in(api, request_token(api, audiences=["vault"])) == 401


@pytest.mark.parametrize("part", [0, 1, 2], ids=["head", "claims", "signature"])
def test_a_token_that_was_changed_is_refused(api, part):
    parts = request_token(api).split(".")
    parts[part] = parts[part][:-4] + ("AAAA" if parts[part][-4:] != "AAAA" else "BBBB")
    assert come_in(api, ".".join(parts)) == 401


def test_a_token_of_no_algorithm_is_refused(api):
    _, claims, _ = request_token(api).split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    assert come_in(api, f"{head}.{claims}.") == 401


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"expirationSeconds": 60}, 422),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "ghost"}}, 404),
        ({"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "x"}}, 400),
    ],
    ids=["short", "no-pod", "kind"],
)
def test_a_token_request_that_makes_no_sense_is_refused(api, spec, status):
    assert api.post(TOKENS, {"spec": spec}).status == status


def test_a_certificate_names_user_and_groups():
    subject = ((("organizationName", "system:masters"),), (("commonName", "admin"),))
    user = user_of_certificate({"subject": subject})
    assert user is not None
    assert (user.name, user.groups) == ("admin", ("system:masters", "system:authenticated"))
    assert user_of_certificate(None) is None
    assert user_of_certificate({"subject": ()}) is None
