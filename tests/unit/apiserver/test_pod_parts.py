"""What of a pod may change while it runs: its ephemeral containers, and its resources."""

from __future__ import annotations

from typing import Any

import pytest

PODS = "/api/v1/namespaces/default/pods"
DEBUGGER = {"name": "d", "image": "x", "targetContainerName": "c"}
AMOUNTS = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}


def container(name: str = "c", **resources: Any) -> Any:
    return {"name": name, "image": "x", "resources": resources or AMOUNTS}


def put_part(api: Any, part: str, change: Any) -> Any:
    pod = api.get(f"{PODS}/p/{part}").json
    change(pod["spec"])
    return api.put(f"{PODS}/p/{part}", pod)


class TestEphemeralContainers:
    def test_one_is_added_and_nothing_else_changes(self, api):
        api.pod("p")
        answer = put_part(api, "ephemeralcontainers", lambda spec: spec.update(
            ephemeralContainers=[DEBUGGER], nodeName="n"))  # fmt: skip
        spec = answer.json["spec"]
        assert (answer.status, answer.json["metadata"]["generation"]) == (200, 2)
        assert (spec["ephemeralContainers"][0]["imagePullPolicy"], "nodeName" in spec) == ("Always", False)

    def test_kubectl_debug_patches_it_in(self, api):
        api.pod("p")
        patch = {"spec": {"ephemeralContainers": [DEBUGGER]}}
        answer = api.patch(f"{PODS}/p/ephemeralcontainers", patch, kind="strategic-merge")
        assert [c["name"] for c in answer.json["spec"]["ephemeralContainers"]] == ["d"]
        assert "Warning" not in answer.headers

    def test_a_pod_is_not_made_with_one(self, api):
        spec = {"containers": [{"name": "c", "image": "x"}], "ephemeralContainers": [DEBUGGER]}
        answer = api.post(PODS, {"metadata": {"name": "p"}, "spec": spec})
        assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in answer.message

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([], 'spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed'),
            (
                [{**DEBUGGER, "image": "y"}],
                'spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be changed',
            ),
            (
                [DEBUGGER, {"name": "c", "image": "x"}],
                'spec.ephemeralContainers[1].name: Duplicate value: "c"',
            ),
            (
                [DEBUGGER, {"name": "e", "image": "x", "targetContainerName": "ghost"}],
                'spec.ephemeralContainers[1].targetContainerName: Not found: "ghost"',
            ),
            (
                [DEBUGGER, {"name": "e", "image": "x", "ports": [{"containerPort": 1}]}],
                "spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container",
            ),
        ],
    )
    def test_what_is_refused(self, api, given, message):
        api.pod("p")
        put_part(api, "ephemeralcontainers", lambda spec: spec.update(ephemeralContainers=[DEBUGGER]))
        answer = put_part(api, "ephemeralcontainers", lambda spec: spec.update(ephemeralContainers=given))
        assert answer.status == 422
        assert message in answer.message


class TestResize:
    def test_cpu_and_memory_change_and_nothing_else(self, api):
        api.pod("p", containers=[container()])

        def change(spec: Any) -> None:
            spec["containers"][0].update(
                image="y", resources={**AMOUNTS, "limits": {"cpu": "1", "memory": "1Gi"}}
            )

        answer = put_part(api, "resize", change)
        (changed,) = answer.json["spec"]["containers"]
        assert (answer.status, changed["image"], answer.json["metadata"]["generation"]) == (200, "x", 2)
        assert changed["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}

    def test_resources_do_not_change_by_an_update(self, api):
        api.pod("p", containers=[container()])
        pod = api.get(f"{PODS}/p").json
        pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1"
        assert api.put(f"{PODS}/p", pod).status == 422

    @pytest.mark.parametrize(
        ("resources", "message"),
        [
            (
                {"requests": {"cpu": "100m"}, "limits": AMOUNTS["limits"]},
                None,  # what is not requested is requested from the limit
            ),
            (
                {"requests": AMOUNTS["limits"], "limits": AMOUNTS["limits"]},
                'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
            ),
            (
                {"requests": AMOUNTS["requests"], "limits": {"memory": "64Mi"}},
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ),
            (
                {
                    "requests": AMOUNTS["requests"],
                    "limits": {**AMOUNTS["limits"], "ephemeral-storage": "1Gi"},
                },
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
            (
                {"requests": {"cpu": "2", "memory": "64Mi"}, "limits": AMOUNTS["limits"]},
                'spec.containers[0].resources.requests: Invalid value: "2": '
                "must be less than or equal to cpu limit of 200m",
            ),
        ],
    )
    def test_what_is_refused(self, api, resources, message):
        api.pod("p", containers=[container()])
        answer = put_part(api, "resize", lambda spec: spec["containers"][0].update(resources=resources))
        assert (answer.status == 200) if message is None else (message in answer.message)

    def test_containers_stay_where_they_are(self, api):
        api.pod("p", containers=[container(), container("d")])
        answer = put_part(api, "resize", lambda spec: spec["containers"].reverse())
        refused = "containers may not be renamed or reordered on resize"
        assert f"spec.containers[0].name: Forbidden: {refused}" in answer.message

    @pytest.mark.parametrize(("status", "code"), [({}, 422), ({"resources": AMOUNTS}, 200)])
    def test_the_node_must_know_how(self, api, status, code):
        api.pod("p", containers=[container()])
        running = {"name": "c", "state": {"running": {}}, "image": "", "imageID": "", "ready": True, **status}
        running["restartCount"] = 0
        api.patch(f"{PODS}/p/status", {"status": {"containerStatuses": [running]}})
        more = {**AMOUNTS, "limits": {"cpu": "300m", "memory": "64Mi"}}
        answer = put_part(api, "resize", lambda spec: spec["containers"][0].update(resources=more))
        assert answer.status == code
