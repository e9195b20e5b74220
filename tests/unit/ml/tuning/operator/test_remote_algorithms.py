"""Algorithms that are not built in: where they are found, what is made for them, and who is then asked."""

import asyncio
from typing import Any

import pytest
import yaml

from proa.client.fake import FakeClient
from proa.ml.tuning.algorithms.errors import AlgorithmFailed, SuggestionError, UnknownAlgorithm
from proa.ml.tuning.grpc.remote_config import find_early_stopping, find_suggestion
from proa.ml.tuning.grpc.remote_objects import make_objects
from proa.ml.tuning.kinds import SUGGESTIONS
from proa.ml.tuning.operator import remote, suggestion_plan
from proa.objects import meta
from proa.objects.resource import CONFIG_MAPS, DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES

ENTRY = {
    "algorithmName": "mine",
    "image": "mine:1",
    "resources": {"limits": {"cpu": "1"}},
    "serviceAccountName": "ann",
}
EARLY = {"algorithmName": "plateau", "image": "plateau:1", "imagePullPolicy": "Always"}
EXPERIMENT = {"metadata": {"name": "e", "namespace": "team", "uid": "u-0"}, "spec": {}}


def make_config(**runtime: Any) -> dict[str, Any]:
    text = yaml.safe_dump({"kind": "KatibConfig", "runtime": runtime})
    return {
        "metadata": {"name": "katib-config", "namespace": "kubeflow"},
        "data": {"katib-config.yaml": text},
    }


def make_suggestion(algorithm: str = "mine", early: str = "", resume: str = "Never") -> dict[str, Any]:
    spec: dict[str, Any] = {"algorithm": {"algorithmName": algorithm}, "resumePolicy": resume, "requests": 1}
    if early:
        spec["earlyStopping"] = {"algorithmName": early}
    metadata = {"name": "e", "namespace": "team", "uid": "u-1", "labels": {"team": "a"}}
    return {"apiVersion": SUGGESTIONS.api_version, "kind": "Suggestion", "metadata": metadata, "spec": spec}


BAD_CONFIGS = {
    "no ConfigMap": (None, "there is no algorithm 'mine' here, and ConfigMap kubeflow/katib-config has none"),
    "nothing in it": ({"data": {}}, "has none in runtime.suggestions: add it with algorithmName and image"),
    "another": (
        make_config(suggestions=[{"algorithmName": "other", "image": "a"}]),
        "has none in runtime.suggestions",
    ),
    "no image": (make_config(suggestions=[{"algorithmName": "mine"}]), "algorithm 'mine' has no image"),
    "no YAML": ({"data": {"katib-config.yaml": "a: [b"}}, "katib-config.yaml is no YAML"),
    "a list": ({"data": {"katib-config.yaml": "[runtime]"}}, "has none in runtime.suggestions"),
    "no lists": (make_config(suggestions={"mine": 1}), "has none in runtime.suggestions"),
}


@pytest.mark.parametrize(("config", "message"), BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
def test_an_algorithm_that_is_nowhere_is_told_of_with_what_would_help(config, message):
    with pytest.raises(SuggestionError) as caught:
        find_suggestion(config, "mine")
    assert message in str(caught.value)


def test_entries_are_found_by_name():
    config = make_config(suggestions=[ENTRY], earlyStoppings=[EARLY])
    assert find_suggestion(config, "mine") == ENTRY
    assert find_early_stopping(config, "plateau") == EARLY
    with pytest.raises(UnknownAlgorithm, match=r"runtime.earlyStoppings"):
        find_early_stopping(config, "mine")


def test_a_service_is_a_deployment_as_upstreams():
    made = dict(make_objects(make_suggestion(early="plateau"), ENTRY, EARLY))
    assert {resource.kind for resource in made} == {"Service", "Deployment"}
    service, deployment = made[SERVICES], made[DEPLOYMENTS]
    assert service["metadata"]["name"] == deployment["metadata"]["name"] == "e-mine"
    assert service["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [
        ("suggestion-api", 6789),
        ("earlystop-api", 6788),
    ]
    labels = {
        "team": "a",
        "katib.kubeflow.org/deployment": "e-mine",
        "katib.kubeflow.org/experiment": "e",
        "katib.kubeflow.org/suggestion": "e",
    }
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    pod = deployment["spec"]["template"]["spec"]
    search, early = pod["containers"]
    assert (search["name"], search["image"], search["resources"]) == (
        "suggestion",
        "mine:1",
        ENTRY["resources"],
    )
    assert search["readinessProbe"]["grpc"] == {"port": 6789, "service": "manager.v1beta1.Suggestion"}
    assert not {"algorithmName", "serviceAccountName", "volumeMounts"} & search.keys()
    assert (early["name"], early["imagePullPolicy"]) == ("early-stopping", "Always")
    assert (pod["serviceAccountName"], "volumes" in pod) == ("ann", False)


def test_its_state_is_on_a_claim_where_the_experiment_resumes_from_a_volume():
    entry = {**ENTRY, "volumeMountPath": "/state", "persistentVolumeClaimSpec": {"storageClassName": "fast"}}
    made = dict(make_objects(make_suggestion(resume="FromVolume"), entry, None))
    claim, pod = made[PERSISTENT_VOLUME_CLAIMS], made[DEPLOYMENTS]["spec"]["template"]["spec"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "fast",
    }
    assert pod["containers"][0]["volumeMounts"] == [{"name": "suggestion-volume", "mountPath": "/state"}]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "e-mine"}


def test_early_stopping_alone_may_be_a_service():
    made = dict(make_objects(make_suggestion("random", "plateau", "FromVolume"), None, EARLY))
    assert PERSISTENT_VOLUME_CLAIMS not in made
    assert [port["port"] for port in made[SERVICES]["spec"]["ports"]] == [6788]
    assert [one["name"] for one in made[DEPLOYMENTS]["spec"]["template"]["spec"]["containers"]] == [
        "early-stopping"
    ]


@pytest.mark.parametrize(
    ("algorithm", "early", "expected"),
    [("random", "", False), ("tpe", "medianstop", False), ("mine", "", True), ("tpe", "plateau", True)],
)
def test_what_is_built_in_runs_here(algorithm, early, expected):
    assert remote.is_remote(make_suggestion(algorithm, early)) is expected


async def no_dial(host: str, port: int) -> Any:
    raise OSError("nobody")


async def ask(client: FakeClient, suggestion: dict[str, Any]) -> Any:
    return await remote.find_advisor(client, no_dial, None, suggestion, EXPERIMENT, {})  # type: ignore[arg-type]


def test_it_is_made_once_waited_for_and_removed_when_the_suggestion_is_over():
    async def go() -> None:
        client, suggestion = FakeClient(), make_suggestion(resume="FromVolume")
        await client.create(CONFIG_MAPS, make_config(suggestions=[ENTRY]), "kubeflow")
        for _ in range(2):
            with pytest.raises(remote.NotReady, match="Deployment e-mine is not ready"):
                await ask(client, suggestion)
        pod = {
            "metadata": {
                "name": "p",
                "namespace": "team",
                "labels": {"katib.kubeflow.org/deployment": "e-mine"},
            },
            "spec": {"containers": [{"name": "suggestion"}]},
            "status": {
                "phase": "Pending",
                "containerStatuses": [
                    {
                        "name": "suggestion",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "gone"}},
                    }
                ],
            },
        }
        made = await client.create(PODS, pod, "team")
        await client.update(PODS, {**made, "status": pod["status"]}, "status")
        with pytest.raises(remote.NotReady, match=r"not ready: .*ImagePullBackOff"):
            await ask(client, suggestion)
        deployment = await client.get(DEPLOYMENTS, "e-mine", "team")
        status = {"conditions": [{"type": "Available", "status": "True"}]}
        await client.update(DEPLOYMENTS, {**deployment, "status": status}, "status")
        service = await client.get(SERVICES, "e-mine", "team")
        await client.update(SERVICES, {**service, "spec": {**service["spec"], "clusterIP": "10.96.0.9"}})
        assert isinstance(await ask(client, suggestion), remote.BothAdvisors)
        for _ in range(2):
            await remote.remove(client, suggestion)
        assert (await client.list(DEPLOYMENTS)).items == (await client.list(SERVICES)).items == []
        assert len((await client.list(PERSISTENT_VOLUME_CLAIMS)).items) == 1

    asyncio.run(go())


def test_what_has_its_name_and_is_somebody_elses_is_not_removed():
    async def go() -> None:
        client = FakeClient()
        for resource in (DEPLOYMENTS, SERVICES):
            await client.create(resource, {"metadata": {"name": "e-mine"}, "spec": {}}, "team")
        await remote.remove(client, make_suggestion())
        assert len((await client.list(DEPLOYMENTS)).items) == len((await client.list(SERVICES)).items) == 1

    asyncio.run(go())


def test_a_long_running_one_stays():
    async def go() -> None:
        client, suggestion = FakeClient(), make_suggestion(resume="LongRunning")
        await client.create(CONFIG_MAPS, make_config(suggestions=[ENTRY]), "kubeflow")
        with pytest.raises(remote.NotReady):
            await ask(client, suggestion)
        await remote.remove(client, suggestion)
        assert len((await client.list(DEPLOYMENTS)).items) == 1

    asyncio.run(go())


def test_what_is_somebody_elses_is_not_used():
    async def go() -> None:
        client = FakeClient()
        await client.create(CONFIG_MAPS, make_config(suggestions=[ENTRY]), "kubeflow")
        await client.create(
            SERVICES, {"metadata": {"name": "e-mine", "namespace": "team"}, "spec": {}}, "team"
        )
        with pytest.raises(AlgorithmFailed, match="Service team/e-mine is not the Suggestion's"):
            await ask(client, make_suggestion())

    asyncio.run(go())


def test_a_service_that_never_is_ready_fails_the_suggestion_after_its_time():
    suggestion = make_suggestion()
    for now, why in ((1000.0, "pulling"), (1050.0, "crashing")):
        suggestion = {**suggestion, "status": suggestion_plan.waiting(suggestion, why, now, 60.0)}
        found = meta.find_condition(suggestion, "DeploymentReady")
        assert found is not None
        assert (found["status"], found["message"]) == ("False", why)
        assert not suggestion_plan.is_over(suggestion)
    ended = {**suggestion, "status": suggestion_plan.waiting(suggestion, "crashing", 1061.0, 60.0)}
    failed = meta.find_condition(ended, "Failed")
    assert failed is not None
    assert failed["message"] == "crashing (for more than 60 s)"
    ready = suggestion_plan.deployed(suggestion, 1055.0)
    assert meta.has_condition(ready, "DeploymentReady")
    assert remote.was_deployed(ready)
