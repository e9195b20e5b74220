"""A namespace's LimitRanges bound its pods and claims, and speak for containers that say nothing."""

from __future__ import annotations

import random

import pytest

NAMESPACE = "/api/v1/namespaces/default"


def limit_range(api, name="limits", **limit):
    body = {"metadata": {"name": name}, "spec": {"limits": [{"type": "Container", **limit}]}}
    assert api.post(f"{NAMESPACE}/limitranges", body).status == 201


def post_pod(api, *resources, **spec):
    containers = [{"name": f"c{i}", "image": "x", "resources": r} for i, r in enumerate(resources)]
    return api.post(
        f"{NAMESPACE}/pods", {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}
    )


def test_silent_containers_get_the_defaults_and_an_annotation_says_so(api):
    limit_range(api, default={"cpu": "1"}, defaultRequest={"cpu": "100m", "memory": "1Gi"})
    pod = post_pod(api, {}, {"requests": {"cpu": "5m"}}).json
    first, second = [c["resources"] for c in pod["spec"]["containers"]]
    assert first == {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "1"}}
    assert second == {"requests": {"cpu": "5m", "memory": "1Gi"}, "limits": {"cpu": "1"}}
    assert pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c0; cpu limit for container c0; "
        "memory request for container c1; cpu limit for container c1"
    )


CASES = {
    "request below the minimum": (
        {"min": {"cpu": "100m"}},
        {"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}},
        "minimum cpu usage per Container is 100m, but request is 50m",
    ),
    "limit above the maximum": (
        {"max": {"memory": "1Gi"}},
        {"requests": {"memory": "1Mi"}, "limits": {"memory": "2Gi"}},
        "maximum memory usage per Container is 1Gi, but limit is 2Gi",
    ),
    "ratio": (
        {"maxLimitRequestRatio": {"cpu": "2"}},
        {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
        "cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000",
    ),
    "nothing said for a ratio": (
        {"maxLimitRequestRatio": {"cpu": "2"}},
        {},
        "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
    ),
    "two things": (
        {"type": "Pod", "min": {"cpu": "1", "memory": "1Gi"}},
        {"requests": {"memory": "1Mi"}, "limits": {"memory": "2Gi"}},
        "[minimum cpu usage per Pod is 1.  No request is specified, "
        "minimum memory usage per Pod is 1Gi, but request is 1Mi]",
    ),
}


@pytest.mark.parametrize(("limit", "resources", "why"), CASES.values(), ids=CASES)
def test_a_pod_out_of_bounds_is_refused_in_upstreams_words(api, limit, resources, why):
    limit_range(api, **limit)
    answer = post_pod(api, resources)
    assert (answer.status, answer.message) == (403, f'pods "p" is forbidden: {why}')


def test_a_pods_containers_are_added_up(api):
    limit_range(api, type="Pod", max={"cpu": "1"})
    resources = {"requests": {"cpu": "600m"}, "limits": {"cpu": "600m"}}
    assert post_pod(api, resources, resources).message.endswith(
        "maximum cpu usage per Pod is 1, but limit is 1200m"
    )
    inits = [{"name": "i", "image": "x", "resources": resources}]
    assert post_pod(api, resources, initContainers=inits).status == 201, "they do not run beside one another"


@pytest.mark.parametrize(("size", "status"), [("1Gi", 201), ("3Gi", 403), ("1Mi", 403)])
def test_claims_are_bounded(api, size, status):
    limit_range(api, type="PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "2Gi"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    body = {"metadata": {"name": "v"}, "spec": spec}
    assert api.post(f"{NAMESPACE}/persistentvolumeclaims", body).status == status


def test_other_namespaces_are_not_bounded(api):
    limit_range(api, min={"cpu": "1"})
    api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    api.post("/api/v1/namespaces/n/serviceaccounts", {"metadata": {"name": "default"}})
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    assert api.post("/api/v1/namespaces/n/pods", body).status == 201


def test_what_is_remembered_of_namespaces_is_as_new_as_the_last_write(api):
    chance = random.Random(5)
    spaces = dict.fromkeys(("default", "other"))
    api.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
    api.post("/api/v1/namespaces/other/serviceaccounts", {"metadata": {"name": "default"}})
    for step in range(60):
        space = chance.choice(list(spaces))
        path = f"/api/v1/namespaces/{space}/limitranges"
        limits = [{"type": "Container", "defaultRequest": {"cpu": f"{step + 1}m"}}]
        body = {"metadata": {"name": "limits"}, "spec": {"limits": limits}}
        match chance.choice(("ask", "set", "delete")):
            case "set" if spaces[space] is None:
                assert api.post(path, body).status == 201
                spaces[space] = f"{step + 1}m"
            case "set":
                assert api.put(f"{path}/limits", body).status == 200
                spaces[space] = f"{step + 1}m"
            case "delete" if spaces[space] is not None:
                assert api.delete(f"{path}/limits").status == 200
                spaces[space] = None
        for name, expected in spaces.items():
            pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
            made = api.post(f"/api/v1/namespaces/{name}/pods?dryRun=All", pod).json
            requests = made["spec"]["containers"][0]["resources"].get("requests", {})
            assert requests.get("cpu") == expected
