"""Deletion: at once, with grace, with finalizers, of dependents, of collections and of namespaces."""

from __future__ import annotations

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def bind(api, pod: str = "p", node: str = "n"):
    return api.post(
        f"{PODS}/{pod}/binding", {"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}}
    )


def test_a_plain_object_is_gone_and_a_status_says_so(api):
    uid = api.config_map("a")["metadata"]["uid"]
    answer = api.delete(f"{CONFIG_MAPS}/a")
    assert answer.json == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": "a", "kind": "configmaps", "uid": uid},
    }  # fmt: skip
    assert api.delete(f"{CONFIG_MAPS}/a").status == 404


class TestPods:
    def test_one_that_no_node_has_is_gone_at_once(self, api):
        api.pod("p")
        answer = api.delete(f"{PODS}/p").json
        assert answer["metadata"]["deletionGracePeriodSeconds"] == 0
        assert api.get(f"{PODS}/p").status == 404

    def test_one_on_a_node_waits_for_its_kubelet(self, api):
        api.pod("p")
        bind(api)
        answer = api.delete(f"{PODS}/p").json
        assert answer["metadata"]["deletionGracePeriodSeconds"] == 30
        assert answer["metadata"]["deletionTimestamp"] == "2027-01-15T08:00:30Z"
        assert api.delete(f"{PODS}/p").json == answer, "asking again changes nothing"
        assert api.delete(f"{PODS}/p?gracePeriodSeconds=0").status == 200
        assert api.get(f"{PODS}/p").status == 404

    def test_grace_can_only_get_shorter(self, api):
        api.pod("p")
        bind(api)
        api.delete(f"{PODS}/p", {"gracePeriodSeconds": 20})
        longer = api.delete(f"{PODS}/p", {"gracePeriodSeconds": 60}).json["metadata"]
        shorter = api.delete(f"{PODS}/p", {"gracePeriodSeconds": 5}).json["metadata"]
        assert longer["deletionGracePeriodSeconds"] == 20
        assert (shorter["deletionGracePeriodSeconds"], shorter["deletionTimestamp"]) == (
            5,
            "2027-01-15T08:00:05Z",
        )

    def test_a_grace_without_end_is_one_to_the_end_of_time(self, api):
        api.pod("p")
        bind(api)
        answer = api.delete(f"{PODS}/p", {"gracePeriodSeconds": 2**63 - 1}).json
        assert answer["metadata"]["deletionTimestamp"] == "9999-12-31T23:59:59Z"
        assert api.delete(f"{PODS}/p?gracePeriodSeconds=0").status == 200

    def test_a_binding_is_made_once(self, api):
        api.pod("p")
        assert bind(api).status == 201
        pod = api.get(f"{PODS}/p").json
        (condition,) = pod["status"]["conditions"]
        assert (pod["spec"]["nodeName"], condition["type"], condition["status"]) == (
            "n",
            "PodScheduled",
            "True",
        )
        again = bind(api, node="m")
        assert (again.status, again.message) == (
            409, 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n"',
        )  # fmt: skip

    def test_a_finalizer_keeps_a_pod_whose_grace_is_over(self, api):
        api.post(PODS, {
            "metadata": {"name": "p", "finalizers": ["a.b/c"]},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        })  # fmt: skip
        assert api.delete(f"{PODS}/p?gracePeriodSeconds=0").json["metadata"]["finalizers"] == ["a.b/c"]
        assert api.get(f"{PODS}/p").status == 200
        api.patch(f"{PODS}/p", {"metadata": {"finalizers": None}})
        assert api.get(f"{PODS}/p").status == 404

    def test_an_eviction_is_a_deletion(self, api):
        api.pod("p")
        assert api.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}}).status == 201
        assert api.get(f"{PODS}/p").status == 404


class TestFinalizers:
    def test_they_keep_the_object_until_the_last_is_gone(self, api):
        api.config_map("a", finalizers=["x.y/one", "x.y/two"])
        marked = api.delete(f"{CONFIG_MAPS}/a").json["metadata"]
        assert (marked["deletionTimestamp"], marked["deletionGracePeriodSeconds"]) == (
            "2027-01-15T08:00:00Z",
            0,
        )
        api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": ["x.y/two"]}})
        assert api.get(f"{CONFIG_MAPS}/a").status == 200
        last = api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": []}})
        assert last.status == 200
        assert api.get(f"{CONFIG_MAPS}/a").status == 404

    def test_none_can_be_added_to_an_object_that_is_going(self, api):
        api.config_map("a", finalizers=["x.y/one"])
        api.delete(f"{CONFIG_MAPS}/a")
        answer = api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": ["x.y/one", "x.y/late"]}})
        assert answer.status == 422
        assert "no new finalizers can be added if the object is being deleted" in answer.message

    @pytest.mark.parametrize(
        ("policy", "finalizers"),
        [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])],
    )
    def test_a_policy_leaves_the_garbage_collectors_mark(self, api, policy, finalizers):
        api.config_map("a")
        answer = api.delete(f"{CONFIG_MAPS}/a", {"propagationPolicy": policy})
        assert answer.json["metadata"]["finalizers"] == finalizers
        assert api.get(f"{CONFIG_MAPS}/a").status == 200


@pytest.mark.parametrize("key", ["uid", "resourceVersion"])
def test_a_precondition_that_fails_deletes_nothing(api, key):
    api.config_map("a")
    answer = api.delete(f"{CONFIG_MAPS}/a", {"preconditions": {key: "7"}})
    assert answer.status == 409
    assert 'Operation cannot be fulfilled on ConfigMap "a": the ' in answer.message
    assert api.get(f"{CONFIG_MAPS}/a").status == 200


def test_a_wrong_policy_is_refused(api):
    api.config_map("a")
    answer = api.delete(f"{CONFIG_MAPS}/a", {"propagationPolicy": "Sideways"})
    assert (answer.status, api.get(f"{CONFIG_MAPS}/a").status) == (422, 200)


def test_a_collection_loses_what_the_selector_picks(api):
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        api.config_map(name, labels={"color": color})
    answer = api.delete(f"{CONFIG_MAPS}?labelSelector=color%3Dred").json
    assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "c"]
    assert [item["metadata"]["name"] for item in api.get(CONFIG_MAPS).json["items"]] == ["b"]
    assert api.delete("/api/v1/configmaps").status == 405


class TestNamespaces:
    def test_one_is_terminating_until_it_is_finalized(self, api):
        api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
        going = api.delete("/api/v1/namespaces/n").json
        assert going["status"]["phase"] == "Terminating"
        refused = api.post("/api/v1/namespaces/n/configmaps", {"metadata": {"name": "late"}})
        assert (refused.status, refused.message) == (
            403,
            'configmaps "late" is forbidden: unable to create new content in namespace n because it is being '
            "terminated",
        )
        assert api.put("/api/v1/namespaces/n/finalize", {**going, "spec": {"finalizers": []}}).status == 200
        assert api.get("/api/v1/namespaces/n").status == 404

    def test_the_systems_own_are_never_deleted(self, api):
        answer = api.delete("/api/v1/namespaces/default")
        assert (answer.status, answer.message) == (
            403, 'namespaces "default" is forbidden: this namespace may not be deleted',
        )  # fmt: skip


def test_volumes_and_claims_are_protected_while_in_use(api):
    body = {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}},
    }
    path = "/api/v1/namespaces/default/persistentvolumeclaims"
    assert api.post(path, body).json["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert api.delete(f"{path}/c").status == 200
    assert api.get(f"{path}/c").json["metadata"]["deletionTimestamp"]
