"""A namespace uses no more than its ResourceQuotas allow."""

from __future__ import annotations

import asyncio

import pytest

NAMESPACE = "/api/v1/namespaces/default"


def quota(api, name="q", hard=None, used=None, **spec):
    """Make a quota whose status the quota controller has written."""
    body = {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}
    assert api.post(f"{NAMESPACE}/resourcequotas", body).status == 201
    status = {"hard": hard, "used": dict.fromkeys(hard, "0") | (used or {})}
    assert api.patch(f"{NAMESPACE}/resourcequotas/{name}/status", {"status": status}).status == 200


def used(api, name="q"):
    return api.get(f"{NAMESPACE}/resourcequotas/{name}").json["status"]["used"]


def pod(name="p", resources=None, **spec):
    container = {"name": "c", "image": "x", "resources": resources or {}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def post_pod(api, *args, query="", **kwargs):
    return api.post(f"{NAMESPACE}/pods{query}", pod(*args, **kwargs))


def test_what_is_made_is_charged_at_once(api):
    quota(api, hard={"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi", "count/pods": "9"})
    resources = {"requests": {"cpu": "300m"}, "limits": {"memory": "256Mi", "cpu": "1"}}
    assert post_pod(api, resources=resources).status == 201
    assert used(api) == {"pods": "1", "requests.cpu": "300m", "limits.memory": "256Mi", "count/pods": "1"}


def test_what_would_exceed_is_refused_and_not_charged(api):
    quota(api, hard={"requests.cpu": "1", "pods": "5"}, used={"requests.cpu": "900m", "pods": "1"})
    answer = post_pod(api, resources={"requests": {"cpu": "200m"}})
    assert (answer.status, answer.message) == (
        403,
        'pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=900m, '
        "limited: requests.cpu=1",
    )
    assert used(api) == {"requests.cpu": "900m", "pods": "1"}


def test_of_two_quotas_neither_is_charged_when_one_refuses(api):
    quota(api, "a", hard={"pods": "5"})
    quota(api, "b", hard={"pods": "0"})
    assert post_pod(api).status == 403
    assert used(api, "a") == {"pods": "0"}


def test_every_container_must_say_what_is_limited(api):
    quota(api, hard={"limits.cpu": "1", "requests.memory": "1Gi"})
    answer = post_pod(api)
    assert answer.message == (
        'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.memory for: c'
    )


def test_a_quota_whose_use_is_not_known_refuses(api):
    hard = {"pods": "1"}
    api.post(f"{NAMESPACE}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    api.patch(f"{NAMESPACE}/resourcequotas/q/status", {"status": {"hard": hard}})
    assert post_pod(api).message == 'pods "p" is forbidden: status unknown for quota: q, resources: pods'


def test_a_dry_run_is_judged_and_not_charged(api):
    quota(api, hard={"pods": "1"})
    assert post_pod(api, query="?dryRun=All").status == 201
    assert used(api) == {"pods": "0"}
    assert post_pod(api).status == 201
    assert post_pod(api, "p2", query="?dryRun=All").status == 403


@pytest.mark.parametrize(
    ("spec", "of_pod", "is_charged"),
    [
        ({"scopes": ["BestEffort"]}, {}, True),
        ({"scopes": ["NotBestEffort"]}, {}, False),
        ({"scopes": ["NotBestEffort"]}, {"resources": {"requests": {"cpu": "1"}}}, True),
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, True),
        ({"scopes": ["NotTerminating"]}, {"activeDeadlineSeconds": 5}, False),
    ],
)
def test_a_scope_says_which_pods_count(api, spec, of_pod, is_charged):
    quota(api, hard={"pods": "5"}, **spec)
    assert post_pod(api, **of_pod).status == 201
    assert used(api) == {"pods": "1" if is_charged else "0"}


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        (f"{NAMESPACE}/configmaps", {}, ["configmaps", "count/configmaps"]),
        (f"{NAMESPACE}/secrets", {}, ["secrets"]),
        (f"{NAMESPACE}/services", {"spec": {"type": "NodePort", "ports": [{"port": 80}]}},
         ["services", "services.nodeports"]),
        (f"{NAMESPACE}/persistentvolumeclaims",
         {"spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"],
                   "resources": {"requests": {"storage": "1"}}}},
         ["persistentvolumeclaims", "requests.storage", "fast.storageclass.storage.k8s.io/requests.storage"]),
        ("/apis/batch/v1/namespaces/default/jobs", {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}}, ["count/jobs.batch"]),
    ],
)  # fmt: skip
def test_other_kinds_are_counted(api, path, body, names):
    quota(api, hard=dict.fromkeys(names, "1"))
    made = api.post(path, {"metadata": {"name": "x"}, **body})
    assert made.status == 201, made.raw
    assert used(api) == dict.fromkeys(names, "1")
    answer = api.post(path, {"metadata": {"name": "y"}, **body})
    assert answer.status == 403
    assert "exceeded quota: q, requested: " in answer.message


def test_many_at_once_do_not_exceed_together(api):
    quota(api, hard={"pods": "3"})

    async def scenario():
        asked = (api.ask("POST", f"{NAMESPACE}/pods", pod(f"p{i}")) for i in range(8))
        return sorted(answer.status for answer in await asyncio.gather(*asked))

    assert asyncio.run(scenario()) == [201] * 3 + [403] * 5
    assert used(api) == {"pods": "3"}
