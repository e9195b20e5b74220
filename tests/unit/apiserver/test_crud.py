"""What a client sees when it creates, reads, replaces, patches and deletes."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


def make_deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "x:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def test_a_new_object_gets_what_only_the_system_sets(api):
    body = {
        "metadata": {
            "name": "a",
            "uid": "mine",
            "generation": 9,
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        "data": {"a": "b"},
    }
    answer = api.post(CONFIG_MAPS, body)
    metadata = answer.json["metadata"]
    assert answer.status == 201
    assert UUID.match(metadata.pop("uid"))
    assert int(metadata.pop("resourceVersion")) > 0
    assert [entry["fieldsV1"] for entry in metadata.pop("managedFields")] == [
        {"f:data": {".": {}, "f:a": {}}}
    ]
    assert metadata == {"name": "a", "namespace": "default", "creationTimestamp": "2027-01-15T08:00:00Z"}
    assert api.get(f"{CONFIG_MAPS}/a").raw == answer.raw


def test_stored_bytes_begin_with_the_kind_so_that_lists_can_cut_it_off(api):
    api.config_map("a")
    assert api.get(f"{CONFIG_MAPS}/a").raw.startswith(b'{"kind":"ConfigMap","apiVersion":"v1","metadata":')
    (item,) = api.get(CONFIG_MAPS).json["items"]
    assert "kind" not in item
    assert item["data"] == {"a": "b"}


def test_a_generated_name_has_five_characters_more(api):
    names = {
        api.post(CONFIG_MAPS, {"metadata": {"generateName": "a-"}}).json["metadata"]["name"]
        for _ in range(20)
    }
    assert len(names) == 20
    assert all(re.fullmatch(r"a-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in names)


def test_a_generated_name_that_is_taken_is_generated_again(api, monkeypatch):
    suffixes = iter(["aaaaa", "aaaaa", "bbbbb"])
    monkeypatch.setattr("proa.apiserver.registry.metadata.random_suffix", lambda: next(suffixes))
    first, second = (api.post(CONFIG_MAPS, {"metadata": {"generateName": "x-"}}).json for _ in range(2))
    assert [o["metadata"]["name"] for o in (first, second)] == ["x-aaaaa", "x-bbbbb"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (CONFIG_MAPS, {"metadata": {"name": "a", "resourceVersion": "1"}}, 500,
         "resourceVersion should not be set on objects to be created"),
        (CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "b"}}, 400,
         "the namespace of the provided object does not match the namespace sent on the request"),
        ("/api/v1/namespaces/ghost/configmaps", {"metadata": {"name": "a"}}, 404, 'namespaces "ghost" not found'),
        (CONFIG_MAPS, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}, 400,
         'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown '
         "conversion"),
        (CONFIG_MAPS, [], 400,
         "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse "
         "error: cannot unmarshal array into Go value (5b5d)"),
        ("/api/v1/configmaps", {"metadata": {"name": "a"}}, 405,
         "the server does not allow this method on the requested resource"),
        (f"{CONFIG_MAPS}/a", {"metadata": {"name": "a"}}, 405,
         "the server does not allow this method on the requested resource"),
    ],
    ids=["resourceVersion", "namespace", "no-namespace", "kind", "array", "all-namespaces", "named"],
)  # fmt: skip
def test_what_cannot_be_created_is_refused_in_upstreams_words(api, path, body, status, message):
    answer = api.post(path, body)
    assert (answer.status, answer.message) == (status, message)


@pytest.mark.parametrize(
    ("path", "metadata", "causes"),
    [
        ("/api/v1/namespaces", {"name": "a.b"}, ['metadata.name: Invalid value: "a.b": must not contain dots']),
        (CONFIG_MAPS, {}, ["metadata.name: Required value: name or generateName is required"]),
        (CONFIG_MAPS, {"name": "a", "labels": {"a/": "b"}},
         ['metadata.labels: Invalid value: "a/": name part must be non-empty',
          'metadata.labels: Invalid value: "a/": name part must consist of alphanumeric characters']),
        (CONFIG_MAPS, {"name": "a", "annotations": {"a": "\u00e9" * 140_000}},
         ["metadata.annotations: Too long: may not be more than 262144 bytes"]),
        (CONFIG_MAPS, {"name": "a", "finalizers": ["a"]},
         ['metadata.finalizers[0]: Invalid value: "a": name is neither a standard finalizer name nor is it fully']),
        (CONFIG_MAPS, {"name": "a", "ownerReferences": [{"kind": "A", "name": "a", "uid": "u", "apiVersion": ""}]},
         ['metadata.ownerReferences[0].apiVersion: Invalid value: "": version must not be empty']),
    ],
    ids=["label", "no-name", "label-key", "bytes-not-characters", "finalizer", "owner"],
)  # fmt: skip
def test_metadata_is_refused_field_by_field(api, path, metadata, causes):
    answer = api.post(path, {"metadata": metadata})
    assert answer.status == 422
    said = [f"{cause['field']}: {cause['message']}" for cause in answer.json["details"]["causes"]]
    assert len(said) == len(causes)
    assert all(one.startswith(start) for one, start in zip(said, causes, strict=True))


def test_creating_twice_is_a_conflict(api):
    api.config_map("a")
    answer = api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})
    assert (answer.status, answer.message) == (409, 'configmaps "a" already exists')


def test_a_dry_run_answers_and_stores_nothing(api):
    revision = api.store.revision
    answer = api.post(f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "a"}})
    assert (answer.status, "resourceVersion" in answer.json["metadata"]) == (201, False)
    assert api.get(f"{CONFIG_MAPS}/a").status == 404
    assert api.store.revision == revision
    assert api.post(f"{CONFIG_MAPS}?dryRun=Some", {"metadata": {"name": "a"}}).status == 422


class TestReplacing:
    def test_a_stale_resource_version_is_a_conflict(self, api):
        first = api.config_map("a")
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"a": "2"}})
        answer = api.put(f"{CONFIG_MAPS}/a", first)
        assert answer.status == 409
        assert answer.message == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your '
            "changes to the latest version and try again"
        )

    def test_what_the_system_keeps_is_kept(self, api):
        first = api.config_map("a", labels={"x": "y"})
        answer = api.put(f"{CONFIG_MAPS}/a", {"metadata": {"name": "a"}, "data": {"new": "1"}})
        metadata = answer.json["metadata"]
        assert answer.status == 200
        assert metadata["uid"] == first["metadata"]["uid"]
        assert metadata["creationTimestamp"] == first["metadata"]["creationTimestamp"]
        assert "labels" not in metadata

    def test_what_changes_nothing_writes_nothing(self, api):
        first = api.config_map("a")
        answer = api.put(f"{CONFIG_MAPS}/a", first)
        assert answer.json == first
        assert api.patch(f"{CONFIG_MAPS}/a", {"data": {"a": "b"}}).json == first

    @pytest.mark.parametrize(
        ("change", "status", "fragment"),
        [
            ({"name": "b"}, 400, "the name of the object (b) does not match the name on the URL (a)"),
            ({"uid": "other"}, 409, "Precondition failed: UID in precondition: other, UID in object meta: "),
        ],
        ids=["name", "uid"],
    )
    def test_identity_cannot_change(self, api, change, status, fragment):
        first = api.config_map("a")
        answer = api.put(f"{CONFIG_MAPS}/a", {**first, "metadata": {**first["metadata"], **change}})
        assert answer.status == status
        assert fragment in answer.message

    def test_a_patch_of_the_uid_is_invalid_and_creation_times_are_not_looked_at(self, api):
        first = api.config_map("a")
        answer = api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"uid": "other"}})
        assert answer.status == 422
        assert answer.json["details"]["causes"][0]["field"] == "metadata.uid"
        other = {**first["metadata"], "creationTimestamp": "2020-01-01T00:00:00Z"}
        assert api.put(f"{CONFIG_MAPS}/a", {**first, "metadata": other}).json == first

    def test_an_owner_that_is_named_twice_is_kept_once_with_a_warning(self, api):
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
        body = {"metadata": {"name": "a", "ownerReferences": [owner, owner, {**owner, "uid": "v"}]}}
        made = api.post(CONFIG_MAPS, body)
        again = api.put(f"{CONFIG_MAPS}/a", body)
        for answer in (made, again):
            assert [o["uid"] for o in answer.json["metadata"]["ownerReferences"]] == ["u", "v"]
            assert "contains duplicate entries; API server dedups" in answer.headers["Warning"]
            assert "duplicate UID(s) observed: u" in answer.headers["Warning"]
        patched = api.patch(f"{CONFIG_MAPS}/a", {"metadata": body["metadata"]})
        assert "duplicate entries after mutating admission happens" in patched.headers["Warning"]

    def test_concurrent_patches_all_land(self, api):
        api.config_map("a")

        async def scenario():
            kind = "application/merge-patch+json"
            await asyncio.gather(
                *(
                    api.ask("PATCH", f"{CONFIG_MAPS}/a", {"data": {str(n): "x"}}, content_type=kind)
                    for n in range(20)
                )
            )

        asyncio.run(scenario())
        assert len(api.get(f"{CONFIG_MAPS}/a").json["data"]) == 21


LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class TestPutOfWhatIsNotThere:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/api/v1/namespaces/default/endpoints", {}),
            ("/api/v1/namespaces/default/limitranges", {"spec": {"limits": []}}),
            ("/api/v1/namespaces/default/services", {"spec": {"ports": [{"port": 80}]}}),
            (LEASES, {"spec": {"holderIdentity": "me"}}),
            ("/apis/node.k8s.io/v1/runtimeclasses", {"handler": "h"}),
            (f"{RBAC}/clusterroles", {"rules": []}),
            (f"{RBAC}/namespaces/default/roles", {"rules": []}),
        ],
        ids=lambda value: value.rpartition("/")[2] if isinstance(value, str) else "",
    )
    def test_it_creates_the_object_where_upstream_does(self, api, path, body):
        metadata = {"name": "a", "labels": {"a": "b"}, "resourceVersion": "7", "generation": 3}
        answer = api.put(f"{path}/a?dryRun=All", {"metadata": metadata, **body})
        assert (answer.status, api.get(f"{path}/a").status) == (201, 404)
        answer = api.put(f"{path}/a", {"metadata": metadata, **body})
        assert answer.status == 201
        assert answer.json["metadata"]["managedFields"][0]["operation"] == "Update"
        assert UUID.match(answer.json["metadata"]["uid"])
        assert answer.json == api.get(f"{path}/a").json
        assert api.put(f"{path}/a", answer.json).status == 200

    def test_an_event_of_either_shape_is_created(self, api):
        core, new = (f"/{root}/namespaces/default/events" for root in ("api/v1", "apis/events.k8s.io/v1"))
        event = {"metadata": {"name": "a"}, "involvedObject": {"namespace": "default"}}
        assert api.put(f"{core}/a", event).status == 201
        named = {"reportingController": "c.io/d", "reportingInstance": "i", "action": "x", "reason": "y"}
        event = {"metadata": {"name": "b"}, "eventTime": "2026-01-01T00:00:00.000000Z", **named}
        answer = api.put(f"{new}/b", {**event, "type": "Normal", "regarding": {"namespace": "default"}})
        assert answer.status == 201, answer.raw
        assert api.get(f"{core}/b").json["reportingComponent"] == "c.io/d"

    def test_one_that_means_an_object_that_was_there_is_a_conflict(self, api):
        answer = api.put(f"{LEASES}/a", {"metadata": {"name": "a", "uid": "u"}, "spec": {}})
        assert answer.status == 409
        assert answer.message.endswith("UID in precondition: u, UID in object meta: ")

    def test_other_kinds_and_parts_of_an_object_are_not_found(self, api):
        assert api.put(f"{CONFIG_MAPS}/a", {"metadata": {"name": "a"}}).status == 404
        status = "/api/v1/namespaces/default/services/a/status"
        assert api.put(status, {"metadata": {"name": "a"}}).status == 404

    def test_a_wrong_name_is_told_before_what_is_missing(self, api):
        answer = api.put(f"{CONFIG_MAPS}/a", {"metadata": {"name": "b"}})
        assert answer.message == "the name of the object (b) does not match the name on the URL (a)"

    def test_who_creates_at_the_same_time_is_updated(self, api):
        async def scenario():
            lease = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "me"}}
            answers = await asyncio.gather(*(api.ask("PUT", f"{LEASES}/a", lease) for _ in range(5)))
            return sorted(answer.status for answer in answers)

        # those that come later say no resourceVersion, which an update of a Lease must
        assert asyncio.run(scenario()) == [201, 422, 422, 422, 422]


class TestGeneration:
    def test_it_counts_changes_of_the_spec_alone(self, api):
        assert api.post(DEPLOYMENTS, make_deployment()).json["metadata"]["generation"] == 1
        assert (
            api.patch(f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}}).json["metadata"][
                "generation"
            ]
            == 1
        )
        assert api.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 2}}).json["metadata"]["generation"] == 2
        status = api.patch(f"{DEPLOYMENTS}/web/status", {"status": {"replicas": 2}})
        assert (status.json["metadata"]["generation"], status.json["status"]["replicas"]) == (2, 2)

    def test_status_and_spec_have_a_door_each(self, api):
        api.post(DEPLOYMENTS, make_deployment())
        through_main = api.patch(f"{DEPLOYMENTS}/web", {"status": {"replicas": 7}})
        through_status = api.patch(f"{DEPLOYMENTS}/web/status", {"spec": {"replicas": 7}})
        assert "replicas" not in through_main.json["status"]
        assert through_status.json["spec"]["replicas"] == 1


class TestScale:
    def test_it_shows_and_sets_replicas(self, api):
        api.post(DEPLOYMENTS, make_deployment())
        scale = api.get(f"{DEPLOYMENTS}/web/scale").json
        assert (scale["kind"], scale["spec"], scale["status"]) == (
            "Scale", {"replicas": 1}, {"replicas": 0, "selector": "app=web"},
        )  # fmt: skip
        scale["spec"]["replicas"] = 5
        assert api.put(f"{DEPLOYMENTS}/web/scale", scale).json["spec"] == {"replicas": 5}
        after = api.get(f"{DEPLOYMENTS}/web").json
        assert (after["spec"]["replicas"], after["metadata"]["generation"]) == (5, 2)

    def test_a_negative_number_is_invalid(self, api):
        api.post(DEPLOYMENTS, make_deployment())
        assert api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": -1}}).status == 422


class TestPatching:
    def test_each_type_does_its_own_thing(self, api):
        api.post(DEPLOYMENTS, make_deployment())
        containers = [{"name": "c", "env": [{"name": "A", "value": "1"}]}, {"name": "d", "image": "y"}]
        body = {"spec": {"template": {"spec": {"containers": containers}}}}
        merged = api.patch(f"{DEPLOYMENTS}/web", body, "strategic-merge").json
        images = {c["name"]: c["image"] for c in merged["spec"]["template"]["spec"]["containers"]}
        assert images == {"c": "x:1", "d": "y"}
        operations = [{"op": "remove", "path": "/spec/template/spec/containers/0"}]
        removed = api.patch(f"{DEPLOYMENTS}/web", operations, "json").json
        assert [c["name"] for c in removed["spec"]["template"]["spec"]["containers"]] == ["d"]

    def test_a_resource_version_in_the_patch_is_a_precondition(self, api):
        api.config_map("a")
        answer = api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"resourceVersion": "1"}, "data": {"x": "y"}})
        assert answer.status == 409

    def test_unknown_types_are_refused(self, api):
        api.config_map("a")
        refused = asyncio.run(api.ask("PATCH", f"{CONFIG_MAPS}/a", {}, content_type="application/json"))
        assert (refused.status, refused.message) == (415, "415: Unsupported Media Type")


class TestFieldValidation:
    BODY = b'{"metadata":{"name":"%s"},"datta":{"a":"b"},"data":{"a":"1","a":"2"}}'

    def test_strict_refuses_unknown_and_duplicate_fields(self, api):
        answer = asyncio.run(api.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", self.BODY % b"a"))
        assert answer.status == 400
        assert answer.message.endswith(
            'strict decoding error: unknown field "datta", duplicate field "data.a"'
        )

    def test_warn_says_each_in_a_header_line(self, api):
        answer = asyncio.run(api.ask("POST", CONFIG_MAPS, self.BODY % b"b"))
        assert answer.status == 201
        assert answer.headers["Warning"].split("\n") == [
            r'299 - "unknown field \"datta\""',
            r'299 - "duplicate field \"data.a\""',
        ]

    def test_ignore_says_nothing(self, api):
        answer = asyncio.run(api.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Ignore", self.BODY % b"c"))
        assert (answer.status, "Warning" in answer.headers) == (201, False)


def test_yaml_goes_in_and_out(api):
    body = b"metadata:\n  name: a\ndata:\n  text: |\n    two\n    lines\n"
    answer = asyncio.run(
        api.ask("POST", CONFIG_MAPS, body, content_type="application/yaml", accept="application/yaml")
    )
    assert (answer.status, answer.headers["Content-Type"]) == (201, "application/yaml")
    assert api.get(f"{CONFIG_MAPS}/a").json["data"] == {"text": "two\nlines\n"}
    assert b"kind: ConfigMap" in answer.raw


def test_media_types_that_are_not_served_are_refused(api):
    assert api.get(CONFIG_MAPS, accept="text/csv").status == 406
    assert api.post(CONFIG_MAPS, {}, content_type="text/plain").status == 415
    assert api.get(CONFIG_MAPS, accept="application/vnd.kubernetes.protobuf, application/json").status == 200


def test_an_exception_in_a_handler_is_a_500_that_is_logged(api, monkeypatch, caplog):
    monkeypatch.setattr(api.store, "get", lambda key: 1 / 0)
    answer = api.get(f"{CONFIG_MAPS}/a")
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert "GET /api/v1/namespaces/default/configmaps/a failed" in caplog.text


def test_empty_values_are_as_good_as_none(api):
    spec = {"ports": [{"port": 80, "nodePort": 0}], "type": "", "clusterIP": "", "sessionAffinity": ""}
    made = api.post("/api/v1/namespaces/default/services", {"metadata": {"name": "a"}, "spec": spec})
    assert made.status == 201, made.raw
    assert (made.json["spec"]["type"], made.json["spec"]["sessionAffinity"]) == ("ClusterIP", "None")
