"""Kinds that are asked and not stored: their questions are checked, their answers are of whoever asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.client.protocol import User

ACCESS = "/apis/authorization.k8s.io/v1"
ANN = User("ann", ("dev", "system:authenticated"), "7", {"acme.com/team": ("a", "b")})
PODS = {"namespace": "default", "verb": "get", "resource": "pods"}


@pytest.mark.parametrize(
    ("plural", "spec"),
    [
        (
            "subjectaccessreviews",
            {"user": "system:admin", "groups": ["system:masters"], "resourceAttributes": PODS},
        ),
        ("selfsubjectaccessreviews", {"resourceAttributes": PODS}),
        ("selfsubjectaccessreviews", {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}),
        (
            "namespaces/default/localsubjectaccessreviews",
            {"groups": ["system:masters"], "resourceAttributes": PODS},
        ),
    ],
)
def test_a_review_is_answered_with_its_question(api: Any, plural: str, spec: Any) -> None:
    answer = api.post(f"{ACCESS}/{plural}?fieldManager=t", {"spec": spec})
    assert (answer.status, answer.json["spec"], answer.json["status"]) == (201, spec, {"allowed": True})
    assert "uid" not in answer.json["metadata"]


@pytest.mark.parametrize(
    ("plural", "body", "message"),
    [
        ("selfsubjectaccessreviews", {"spec": {}},
         "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes "
         "must be specified"),
        ("selfsubjectaccessreviews",
         {"spec": {"resourceAttributes": PODS, "nonResourceAttributes": {"path": "/x", "verb": "get"}}},
         'spec.nonResourceAttributes: Invalid value: {"Path":"/x","Verb":"get"}: cannot be specified in combination '
         "with resourceAttributes"),
        ("subjectaccessreviews", {"spec": {"resourceAttributes": PODS}},
         'spec.user: Invalid value: "": at least one of user or group must be specified'),
        ("namespaces/default/localsubjectaccessreviews",
         {"spec": {"user": "ann", "resourceAttributes": {**PODS, "namespace": "other"}}},
         'spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace'),
        ("selfsubjectaccessreviews",
         {"spec": {"resourceAttributes": {**PODS, "fieldSelector": {}}}},
         "spec.resourceAttributes.fieldSelector.requirements: Required value: when "
         "spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"),
    ],
    ids=["nothing", "both", "nobody", "another namespace", "an empty selector"],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(api: Any, plural: str, body: Any, message: str) -> None:
    answer = api.post(f"{ACCESS}/{plural}", body)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert answer.message.endswith(f'"" is invalid: {message}')


def test_a_review_has_no_metadata(api: Any) -> None:
    body = {"metadata": {"name": "x"}, "spec": {"resourceAttributes": PODS}}
    answer = api.post(f"{ACCESS}/selfsubjectaccessreviews", body)
    assert answer.status == 422
    assert answer.message.endswith("must be empty")


def test_selectors_that_cannot_be_read_are_said_to_be_ignored(api: Any) -> None:
    selector = {
        "requirements": [{"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "Exists"}]
    }
    asked = {**PODS, "fieldSelector": selector, "labelSelector": {"rawSelector": "a in"}}
    answer = api.post(f"{ACCESS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": asked}})
    assert answer.json["status"]["evaluationError"] == (
        "spec.resourceAttributes.fieldSelector partially ignored due to parse error; "
        "spec.resourceAttributes.labelSelector ignored due to parse error"
    )


def test_who_asks_who_he_is_is_told(secured_api: Any) -> None:
    asked = secured_api.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, user=ANN)
    user = {"username": "ann", "uid": "7", "groups": ["dev", "system:authenticated"]}
    expected = {**user, "extra": {"acme.com/team": ["a", "b"]}}
    assert asyncio.run(asked).json["status"] == {"userInfo": expected}


def test_the_rules_of_nowhere_cannot_be_asked_for(api: Any) -> None:
    answer = api.post(f"{ACCESS}/selfsubjectrulesreviews", {"spec": {}})
    assert (answer.status, answer.message) == (400, "no namespace on request")


@pytest.mark.parametrize(("method", "status"), [("GET", 405), ("DELETE", 405)])
def test_reviews_can_only_be_created(api: Any, method: str, status: int) -> None:
    assert asyncio.run(api.ask(method, f"{ACCESS}/subjectaccessreviews")).status == status
