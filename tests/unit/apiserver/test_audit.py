"""What the policy says of a request is in the audit log, with what was decided, and nothing more."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from proa.apiserver.app import ApiServer, ApiSettings
from proa.apiserver.audit.log import AuditLog
from proa.apiserver.audit.policy import DEFAULT, AuditPolicy, BadPolicy, make_policy, read_policy
from proa.apiserver.filters.audit import with_audit
from proa.apiserver.registry.notes import NOTES, Notes, annotate_audit
from proa.apiserver.request_info import RequestInfo, parse_request
from proa.apiserver.resources import DEFINITIONS
from proa.client.protocol import Request, Response, User
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
ANN = User("ann", ("dev", "system:authenticated"))
SECRETS = "/api/v1/namespaces/default/secrets"


def policy(*rules: Any, **more: Any) -> AuditPolicy:
    return make_policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


def resource(verb: str, group: str, plural: str, name: str = "", namespace: str = "", part: str = "") -> Any:
    return RequestInfo(True, verb, "", group, "v1", namespace, plural, name, part)


@pytest.mark.parametrize(
    ("rule", "fits", "misses"),
    [
        ({"users": ["ann"]}, [resource("get", "", "pods")], []),
        ({"users": ["bob"]}, [], [resource("get", "", "pods")]),
        ({"userGroups": ["dev", "ops"]}, [resource("get", "", "pods")], []),
        ({"verbs": ["create"]}, [resource("create", "", "pods")], [resource("get", "", "pods")]),
        (
            {"resources": [{"group": "", "resources": ["pods"]}]},
            [resource("get", "", "pods")],
            [
                resource("get", "", "pods", part="log"),
                resource("get", "apps", "pods"),
                RequestInfo(False, "get", "/"),
            ],
        ),
        (
            {"resources": [{"resources": ["pods/*", "*/scale"]}]},
            [resource("get", "", "pods", part="log"), resource("get", "", "x", part="scale")],
            [resource("get", "", "services")],
        ),
        ({"resources": [{"group": "apps"}]}, [resource("get", "apps", "x")], [resource("get", "", "x")]),
        (
            {"resources": [{"resources": ["configmaps"], "resourceNames": ["a"]}]},
            [resource("get", "", "configmaps", "a")],
            [resource("get", "", "configmaps", "b")],
        ),
        (
            {"namespaces": ["kube-system"]},
            [resource("get", "", "pods", namespace="kube-system")],
            [resource("get", "", "nodes"), RequestInfo(False, "get", "/")],
        ),
        ({"namespaces": [""]}, [resource("get", "", "nodes")], [resource("get", "", "x", namespace="y")]),
        (
            {"nonResourceURLs": ["/healthz*", "/version"]},
            [RequestInfo(False, "get", "/healthz/ping"), RequestInfo(False, "get", "/version")],
            [RequestInfo(False, "get", "/api"), resource("get", "", "pods")],
        ),
    ],
)
def test_a_rule_is_about_what_it_names(rule: Any, fits: list[Any], misses: list[Any]) -> None:
    made = policy({"level": "Request", **rule})
    assert all(made.wanted(ANN, info) is not None for info in fits)
    assert all(made.wanted(ANN, info) is None for info in misses)


def test_the_first_rule_counts_and_stages_are_left_out_by_either() -> None:
    made = policy(
        {"level": "None", "users": ["ann"]},
        {"level": "Metadata", "omitStages": ["ResponseStarted"], "omitManagedFields": False},
        omitStages=["RequestReceived"],
        omitManagedFields=True,
    )
    info = resource("get", "", "pods")
    assert made.wanted(ANN, info) is None
    wanted = made.wanted(ADMIN, info)
    assert wanted is not None
    assert wanted.stages == {"ResponseComplete", "Panic"}
    assert not wanted.omits_managed_fields


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], 'kind: must be "Policy"'),
        ({"kind": "Policy", "apiVersion": "audit.k8s.io/v1beta1"}, 'apiVersion: must be "audit.k8s.io/v1"'),
        ({"kind": "Policy", "apiVersion": "audit.k8s.io/v1"}, "loaded illegal policy with 0 rules"),
        ({"rules": [{}]}, "rules[0].level: Required value"),
        ({"rules": [{"level": "All"}]}, 'rules[0].level: Unsupported value: "All": supported values: "None"'),
        ({"rules": [{"level": "None", "verb": []}]}, "rules[0].verb: unknown field"),
        ({"rules": [{"level": "None"}], "omitStages": ["x"]}, 'omitStages[0]: Invalid value: "x"'),
        (
            {"rules": [{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}]},
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        ({"rules": [{"level": "None", "nonResourceURLs": ["a"]}]}, "must begin with a '/' character"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["/a*b"]}]}, "must be the final character"),
        (
            {"rules": [{"level": "None", "resources": [{"resourceNames": ["x"]}]}]},
            "using resourceNames requires at least one resource",
        ),
        ({"rules": [{"level": "None", "users": "ann"}]}, "rules[0].users: must be a list of strings"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(document: Any, said: str) -> None:
    if isinstance(document, dict) and "kind" not in document:
        document = {"kind": "Policy", "apiVersion": "audit.k8s.io/v1", **document}
    with pytest.raises(BadPolicy) as refused:
        make_policy(document)
    assert said in str(refused.value)


def test_a_policys_file_is_named_where_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    with pytest.raises(BadPolicy, match=r"policy\.yaml: No such file"):
        read_policy(str(path))
    path.write_text("a: [")
    with pytest.raises(BadPolicy, match=r"policy\.yaml"):
        read_policy(str(path))


# --- events -----------------------------------------------------------------------------------------------------


def audited(tmp_path: Path, made: AuditPolicy, *requests: Request) -> list[Any]:
    """Return the events of requests to a new server."""
    path = tmp_path / "audit.log"

    async def scenario() -> None:
        log = AuditLog(str(path))
        server = ApiServer(MemoryStore(), DEFINITIONS, ApiSettings(audit_policy=made), audit_log=log)
        for request in (
            make_request("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}}),
            *requests,
        ):
            response = await server.handle(request)
            if response.stream is not None:
                await anext(response.stream)
                await response.stream.aclose()  # type: ignore[attr-defined]
        await server.close()

    asyncio.run(scenario())
    return [json.loads(line) for line in path.read_text().splitlines()]


def make_request(method: str, path: str, body: Any = None, user: User = ADMIN, **headers: str) -> Request:
    path, _, query = path.partition("?")
    asked = {key: [value] for key, _, value in (part.partition("=") for part in query.split("&")) if key}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    data = json.dumps(body).encode() if body is not None else b""
    return Request(method, path, asked, named, data, user, "192.0.2.1")


SECRET = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}


def test_metadata_tells_who_did_what_and_no_body(tmp_path: Path) -> None:
    request = make_request("POST", SECRETS, SECRET, user_agent="kubectl", audit_id="id-1")
    *_, event = audited(tmp_path, read_policy(DEFAULT), request)
    times = event.pop("requestReceivedTimestamp"), event.pop("stageTimestamp")
    assert times[0] <= times[1]
    assert event == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "id-1",
        "stage": "ResponseComplete",
        "requestURI": SECRETS,
        "verb": "create",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["192.0.2.1"],
        "userAgent": "kubectl",
        "objectRef": {"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }
    written = (tmp_path / "audit.log").read_text()
    assert "hunter2" not in written
    assert "aHVudGVyMg==" not in written
    assert stat.S_IMODE((tmp_path / "audit.log").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("level", "has_request", "has_response"),
    [("Metadata", False, False), ("Request", True, False), ("RequestResponse", True, True)],
)
def test_bodies_are_what_the_level_says(
    tmp_path: Path, level: str, has_request: bool, has_response: bool
) -> None:
    body = {"metadata": {"name": "c"}, "data": {"a": "b"}}
    request = make_request("POST", "/api/v1/namespaces/default/configmaps", body)
    *_, received, complete = audited(tmp_path, policy({"level": level}, omitManagedFields=True), request)
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert ("requestObject" in complete, "responseObject" in complete) == (has_request, has_response)
    if has_response:
        assert complete["requestObject"] == body
        assert complete["responseObject"]["data"] == {"a": "b"}
        assert "managedFields" not in complete["responseObject"]["metadata"]


def test_a_refusal_is_there_with_its_reason(tmp_path: Path) -> None:
    request = make_request("GET", f"{SECRETS}/s", user=ANN)
    *_, event = audited(tmp_path, read_policy(DEFAULT), request)
    status = event["responseStatus"]
    assert (status["code"], status["reason"], status["status"]) == (403, "Forbidden", "Failure")
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"


def test_who_acts_as_another_is_there_as_both(tmp_path: Path) -> None:
    request = make_request(
        "GET", f"{SECRETS}?limit=1", impersonate_user="ann", x_forwarded_for="10.0.0.1, 10.0.0.2"
    )
    *_, event = audited(tmp_path, read_policy(DEFAULT), request)
    assert event["user"]["username"] == "admin"
    assert event["impersonatedUser"] == {"username": "ann", "groups": ["system:authenticated"]}
    assert event["requestURI"] == f"{SECRETS}?limit=1"
    assert event["sourceIPs"] == ["10.0.0.1", "10.0.0.2", "192.0.2.1"]


def test_a_watch_is_noted_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    request = make_request("GET", "/api/v1/namespaces?watch=true")
    events = audited(tmp_path, policy({"level": "Metadata", "verbs": ["watch"]}), request)
    assert [e["stage"] for e in events] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


def test_a_bad_token_is_noted(tmp_path: Path) -> None:
    request = make_request("GET", "/api", authorization="Bearer nope")
    request.user = None
    *_, event = audited(tmp_path, read_policy(DEFAULT), request)
    assert (event["stage"], event["user"]) == ("ResponseStarted", {})
    assert event["responseStatus"]["message"] == "Authentication failed, attempted: bearer"
    assert "nope" not in (tmp_path / "audit.log").read_text()


def test_large_logs_are_put_aside_and_the_oldest_removed(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    made = read_policy(DEFAULT)

    async def scenario() -> None:
        for _ in range(5):
            log = AuditLog(str(path), max_file_bytes=100, max_files=2)
            server = ApiServer(MemoryStore(), DEFINITIONS, ApiSettings(audit_policy=made), audit_log=log)
            await server.handle(make_request("GET", "/version"))
            await server.close()

    asyncio.run(scenario())
    assert path.read_bytes() == b""
    assert len(list(tmp_path.glob("audit-*.log"))) == 2


@pytest.mark.parametrize(("level", "is_shown"), [("Metadata", False), ("Request", True)])
def test_what_a_webhook_changed_is_shown_where_bodies_are(tmp_path: Path, level: str, is_shown: bool) -> None:
    async def patched(request: Request) -> Response:
        annotate_audit("patch.webhook.admission.k8s.io/round_0_index_0", "hunter2", holds_body=True)
        annotate_audit("mutation.webhook.admission.k8s.io/round_0_index_0", "{}")
        return Response(201, {}, b"{}")

    path = tmp_path / "audit.log"

    async def scenario() -> None:
        log = AuditLog(str(path))
        token = NOTES.set(Notes())
        try:
            request = make_request("POST", "/api/v1/namespaces/default/secrets", {})
            handle = with_audit(policy({"level": level}), log)(lambda request, info: patched(request))
            await handle(request, parse_request(request))
        finally:
            NOTES.reset(token)
            await log.close()

    asyncio.run(scenario())
    text = path.read_text()
    assert ("hunter2" in text) == is_shown
    assert "mutation.webhook" in text
