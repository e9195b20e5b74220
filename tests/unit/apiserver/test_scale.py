"""The scale subresource: what it shows, how it is written, and who has the replicas then.

The writes are those of upstream's test/integration/apiserver/apply/scale_test.go.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.apiserver.custom_resource_builders import (
    BOATS,
    DEFINITIONS,
    make_boat,
    make_definition,
    make_schema,
    make_version,
)

REPLICAS = {"f:spec": {"f:replicas": {}}}
SCALE_OF_BOATS = {"specReplicasPath": ".spec.masts", "statusReplicasPath": ".status.masts"}


def workload(api_version: str, kind: str, **spec: Any) -> Any:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    selector = labels if api_version == "v1" else {"matchLabels": labels}
    more = {"serviceName": "s"} if kind == "StatefulSet" else {}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": {"selector": selector, "template": template, **more, **spec},
    }


def scale(**spec: Any) -> Any:
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": spec}


def apply(api: Any, path: str, body: Any, manager: str, force: str = "false") -> Any:
    path = f"{path}?fieldManager={manager}&force={force}"
    return asyncio.run(api.ask("PATCH", path, body, content_type="application/apply-patch+yaml"))


def owners(api: Any, path: str, field: Any = REPLICAS) -> list[tuple[str, str, str, str]]:
    """Return (manager, operation, version, subresource) of those who have the field."""
    (outer, inner) = next((key, next(iter(below))) for key, below in field.items())
    return [
        (e["manager"], e["operation"], e["apiVersion"], e.get("subresource", ""))
        for e in api.get(path).json["metadata"]["managedFields"]
        if inner in e["fieldsV1"].get(outer, {})
    ]


@pytest.fixture
def deployments(api: Any) -> str:
    return "/apis/apps/v1/namespaces/default/deployments"


@pytest.mark.parametrize(
    ("path", "api_version", "kind"),
    [
        ("/apis/apps/v1/namespaces/default/deployments", "apps/v1", "Deployment"),
        ("/apis/apps/v1/namespaces/default/replicasets", "apps/v1", "ReplicaSet"),
        ("/apis/apps/v1/namespaces/default/statefulsets", "apps/v1", "StatefulSet"),
        ("/api/v1/namespaces/default/replicationcontrollers", "v1", "ReplicationController"),
    ],
    ids=lambda value: value if "/" not in value else "",
)
def test_who_writes_a_scale_has_the_replicas_of_the_object(
    api: Any, path: str, api_version: str, kind: str
) -> None:
    whole, one = f"{path}/a", workload(api_version, kind, replicas=1)
    assert apply(api, whole, one, "applier").status == 201
    assert owners(api, whole) == [("applier", "Apply", api_version, "")]

    assert api.put(f"{whole}/scale?fieldManager=putter", scale(replicas=2)).status == 200
    assert owners(api, whole) == [("putter", "Update", api_version, "scale")]
    assert apply(api, whole, one, "applier").status == 409
    assert apply(api, whole, one, "applier", "true").status == 200
    assert owners(api, whole) == [("applier", "Apply", api_version, "")]

    assert api.patch(f"{whole}/scale?fieldManager=patcher", {"spec": {"replicas": 3}}).status == 200
    assert owners(api, whole) == [("patcher", "Update", api_version, "scale")]

    refused = apply(api, f"{whole}/scale", scale(replicas=4), "scaler")
    assert (refused.status, refused.message) == (
        409,
        'Apply failed with 1 conflict: conflict with "patcher" with subresource "scale" using autoscaling/v1: '
        ".spec.replicas",
    )
    assert apply(api, f"{whole}/scale", scale(replicas=4), "scaler", "true").json["spec"] == {"replicas": 4}
    assert owners(api, whole) == [("scaler", "Apply", api_version, "scale")]
    again = apply(api, f"{whole}/scale", scale(replicas=5), "scaler")
    assert (again.status, again.json["kind"], again.json["spec"]) == (200, "Scale", {"replicas": 5})
    assert "managedFields" not in again.json["metadata"]
    assert api.get(whole).json["spec"]["replicas"] == 5


class TestApplying:
    @pytest.fixture
    def path(self, api: Any) -> str:
        path = "/apis/apps/v1/namespaces/default/deployments/a"
        assert apply(api, path, workload("apps/v1", "Deployment", replicas=1), "one").status == 201
        return path

    def test_two_who_agree_share_the_replicas(self, api: Any, path: str) -> None:
        assert apply(api, f"{path}/scale", scale(replicas=1), "two").status == 200
        assert owners(api, path) == [("two", "Apply", "apps/v1", "scale"), ("one", "Apply", "apps/v1", "")]

    def test_who_no_longer_says_the_replicas_leaves_none(self, api: Any, path: str) -> None:
        apply(api, f"{path}/scale", scale(replicas=3), "two", "true")
        answer = apply(api, f"{path}/scale", scale(), "two")
        assert (answer.json["spec"], api.get(path).json["spec"]["replicas"]) == ({}, 0)

    def test_a_dry_run_stores_nothing(self, api: Any, path: str) -> None:
        answer = apply(api, f"{path}/scale", scale(replicas=3), "one&dryRun=All", "true")
        assert answer.json["spec"] == {"replicas": 3}
        assert api.get(path).json["spec"]["replicas"] == 1

    @pytest.mark.parametrize(
        ("body", "query", "status", "fragment"),
        [
            (scale(replicas=2), "", 422, "fieldManager: Required value: is required for apply patch"),
            (workload("apps/v1", "Deployment"), "two", 400, "invalid object type: apps/v1, Kind=Deployment"),
            (scale(replicas=-1), "two&force=true", 422, "spec.replicas: Invalid value: -1"),
            (scale(sails=2), "two", 500, ".spec.sails: field not declared in schema"),
            (
                {**scale(replicas=2), "metadata": {"name": "b"}},
                "two&force=true",
                400,
                "does not match the name",
            ),
            (
                {**scale(replicas=2), "metadata": {"name": "a", "resourceVersion": "1"}},
                "two&force=true",
                409,
                "the object has been modified",
            ),
        ],
        ids=["manager", "kind", "negative", "unknown", "name", "version"],
    )
    def test_what_cannot_be_applied_is_refused(
        self, api: Any, path: str, body: Any, query: str, status: int, fragment: str
    ) -> None:
        answer = apply(api, f"{path}/scale", body, query)
        assert answer.status == status
        assert fragment in answer.message

    def test_the_scale_of_what_is_not_there_is_not_found(self, api: Any, deployments: str) -> None:
        assert apply(api, f"{deployments}/b/scale", scale(replicas=1), "two").status == 404


def test_no_replicas_are_those_that_there_were(api: Any, deployments: str) -> None:
    api.post(f"{deployments}?fieldManager=maker", workload("apps/v1", "Deployment", replicas=0))
    for answer in (
        api.put(f"{deployments}/a/scale", scale(replicas=0)),
        api.put(f"{deployments}/a/scale", scale()),
    ):
        assert (answer.status, answer.json["spec"]) == (200, {})
    assert owners(api, f"{deployments}/a") == []  # as upstream loses who had them: managed_fields/scale.py


def test_a_put_means_the_object_that_it_names(api: Any, deployments: str) -> None:
    api.post(deployments, workload("apps/v1", "Deployment"))
    body = {**scale(replicas=2), "metadata": {"name": "a", "uid": "other"}}
    assert "Precondition failed: UID" in api.put(f"{deployments}/a/scale", body).message
    assert api.put(f"{deployments}/a/scale", {**body, "metadata": {"name": "b"}}).status == 400
    patched = api.patch(f"{deployments}/a/scale", {"spec": {"replicas": 7}}, "strategic-merge")
    assert patched.json["spec"] == {"replicas": 7}


class TestCustomResources:
    @pytest.fixture
    def boat(self, api: Any) -> str:
        version = make_version(subresources={"status": {}, "scale": SCALE_OF_BOATS})
        version["schema"] = make_schema({"type": "object", "properties": {"masts": {"type": "integer"}}})
        assert api.post(DEFINITIONS, make_definition(version)).status == 201
        return f"{BOATS}/a"

    def test_the_replicas_are_where_the_definition_says(self, api: Any, boat: str) -> None:
        masts = {"f:spec": {"f:masts": {}}}
        apply(api, boat, make_boat("a"), "one")
        assert owners(api, boat, masts) == [("one", "Apply", "sea.example/v1", "")]
        refused = apply(api, f"{boat}/scale", scale(replicas=2), "two")
        assert refused.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
        assert apply(api, f"{boat}/scale", scale(replicas=2), "two", "true").status == 200
        assert owners(api, boat, masts) == [("two", "Apply", "sea.example/v1", "scale")]
        assert api.get(boat).json["spec"]["masts"] == 2

    def test_one_that_says_none_is_made_to_say_some(self, api: Any, boat: str) -> None:
        body = make_boat("a")
        del body["spec"]["masts"]
        api.post(BOATS, body)
        assert api.get(f"{boat}/scale").status == 500
        kept = api.patch(f"{boat}/scale", {"metadata": {}})
        assert (kept.status, kept.message) == (400, 'the spec replicas field ".spec.masts" cannot be empty')
        assert api.patch(f"{boat}/scale", {"spec": {"replicas": 2}}).status == 200
        assert api.get(boat).json["spec"]["masts"] == 2
