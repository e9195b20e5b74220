"""A step becomes a pod: the platform document whole, resources, security, names."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.pipelines.artifacts.protocol import Placement
from proa.ml.pipelines.executor.pod import PodSettings, make_pod
from proa.ml.pipelines.executor.step import make_step
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Values
from support.pipeline_steps import ROOT, make_artifact, make_launch, make_run

Json = dict[str, Any]
EMPTY = Placement()


def pod_of(launch: Launch, placement: Placement = EMPTY, **settings: Any) -> Json:
    step = make_step(make_run(), launch, ROOT, "salt")
    return make_pod(make_run(), launch, step, placement, "digits-train", None, PodSettings(**settings))


def main_of(pod: Json) -> Json:
    found: Json = pod["spec"]["containers"][0]
    return found


def constant(value: Any) -> Json:
    return {"runtimeValue": {"constant": value}}


def test_a_pod_says_whose_it_is_and_is_held_until_it_was_recorded() -> None:
    pod = pod_of(make_launch(command=["run"], args=["x"]))

    assert pod["metadata"] == {
        "name": "digits-train",
        "namespace": "team",
        "labels": {"pipeline/runid": "r-1", "pipelines.kubeflow.org/v2_component": "true"},
        "annotations": {
            "pipelines.proa.dev/task-path": "loop-1[2]/train",
            "pipelines.proa.dev/attempt": "1",
        },
        "finalizers": ["pipelines.proa.dev/record"],
    }
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["serviceAccountName"] == "pipeline-runner"
    main = main_of(pod)
    assert (main["name"], main["image"], main["command"], main["args"]) == (
        "main",
        "python:3.11",
        ["run"],
        ["x"],
    )
    assert main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


RESOURCES = [
    ({"cpuLimit": 0.5, "memoryLimit": 2.0}, {"limits": {"cpu": "0.5", "memory": "2G"}}),
    ({"cpuRequest": 1, "memoryRequest": 0.25}, {"requests": {"cpu": "1", "memory": "0.25G"}}),
    ({"resourceCpuLimit": "500m", "cpuLimit": 2.0}, {"limits": {"cpu": "500m"}}),
    ({"resourceMemoryRequest": "{{$.inputs.parameters['memory']}}"}, {"requests": {"memory": "3Gi"}}),
    ({"accelerator": {"type": "nvidia.com/gpu", "count": "2"}}, {"limits": {"nvidia.com/gpu": "2"}}),
    (
        {"accelerator": {"resourceType": "amd.com/gpu", "resourceCount": "{{$.inputs.parameters['count']}}"}},
        {"limits": {"amd.com/gpu": "4"}},
    ),
    ({"accelerator": {"resourceType": "amd.com/gpu"}}, None),
    ({}, None),
]


@pytest.mark.parametrize(("spec", "expected"), RESOURCES)
def test_resources_of_both_forms(spec: Json, expected: Json | None) -> None:
    inputs = Values({"memory": "3Gi", "count": 4})

    assert (
        main_of(pod_of(make_launch(container={"resources": spec}, inputs=inputs))).get("resources")
        == expected
    )


ENVIRONMENT = [
    (
        {"secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "V"}]}]},
        [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    ),
    (
        {
            "secretAsEnv": [
                {
                    "secretNameParameter": {"componentInputParameter": "name"},
                    "optional": True,
                    "keyToEnv": [{"secretKey": "k", "envVar": "V"}],
                }
            ]
        },
        [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "of-scope", "key": "k", "optional": True}}}],
    ),
    (
        {
            "secretAsEnv": [
                {
                    "secretNameParameter": {"componentInputParameter": "left-out"},
                    "keyToEnv": [{"secretKey": "k", "envVar": "V"}],
                }
            ]
        },
        [],
    ),
    (
        {
            "configMapAsEnv": [
                {"configMapNameParameter": constant("c"), "keyToEnv": [{"configMapKey": "k", "envVar": "V"}]}
            ]
        },
        [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
    ),
    (
        {"fieldPathAsEnv": [{"name": "NODE", "fieldPath": "spec.nodeName"}]},
        [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
    ),
]


@pytest.mark.parametrize(("platform", "expected"), ENVIRONMENT)
def test_environment_of_the_platform_document(platform: Json, expected: list[Json]) -> None:
    launch = make_launch(platform=platform, scope=Values({"name": "of-scope"}))

    own = ("KFP_POD_NAME", "KFP_POD_UID", "KFP_RETRY_INDEX")
    assert [entry for entry in main_of(pod_of(launch))["env"] if entry["name"] not in own] == expected


VOLUMES = [
    (
        {"pvcMount": [{"constant": "data", "mountPath": "/data", "subPath": "part"}]},
        [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        [{"name": "data", "mountPath": "/data", "subPath": "part"}],
    ),
    (
        {
            "pvcMount": [
                {
                    "taskOutputParameter": {"producerTask": "createpvc", "outputParameterKey": "name"},
                    "mountPath": "/data",
                }
            ]
        },
        [{"name": "made", "persistentVolumeClaim": {"claimName": "made"}}],
        [{"name": "made", "mountPath": "/data"}],
    ),
    (
        {"pvcMount": [{"pvcNameParameter": {"componentInputParameter": "claim"}, "mountPath": "/data"}]},
        [{"name": "of-scope", "persistentVolumeClaim": {"claimName": "of-scope"}}],
        [{"name": "of-scope", "mountPath": "/data"}],
    ),
    (
        {"secretAsVolume": [{"secretName": "s", "mountPath": "/a"}, {"secretName": "s", "mountPath": "/b"}]},
        [{"name": "s", "secret": {"secretName": "s", "optional": False}}],
        [{"name": "s", "mountPath": "/a"}, {"name": "s", "mountPath": "/b"}],
    ),
    (
        {
            "configMapAsVolume": [
                {"configMapNameParameter": constant("c"), "mountPath": "/c", "optional": True}
            ]
        },
        [{"name": "c", "configMap": {"name": "c", "optional": True}}],
        [{"name": "c", "mountPath": "/c"}],
    ),
    (
        {"emptyDirMounts": [{"volumeName": "e", "mountPath": "/e", "sizeLimit": "1Gi"}]},
        [{"name": "e", "emptyDir": {"sizeLimit": "1Gi"}}],
        [{"name": "e", "mountPath": "/e"}],
    ),
    (
        {"enabledSharedMemory": {"size": "64Mi"}},
        [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
        [{"name": "shm", "mountPath": "/dev/shm"}],
    ),
    (
        {
            "genericEphemeralVolume": [
                {
                    "volumeName": "g",
                    "mountPath": "/g",
                    "accessModes": ["ReadWriteOnce"],
                    "size": "5Gi",
                    "defaultStorageClass": True,
                }
            ]
        },
        [
            {
                "name": "g",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "metadata": {},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "5Gi"}},
                        },
                    }
                },
            }
        ],
        [{"name": "g", "mountPath": "/g"}],
    ),
]


@pytest.mark.parametrize(("platform", "volumes", "mounts"), VOLUMES)
def test_volumes_of_the_platform_document(platform: Json, volumes: list[Json], mounts: list[Json]) -> None:
    launch = make_launch(
        platform=platform,
        scope=Values({"claim": "of-scope"}),
        siblings={"createpvc": Values({"name": "made"})},
    )

    pod = pod_of(launch)

    assert (pod["spec"]["volumes"], main_of(pod)["volumeMounts"]) == (volumes, mounts)


def test_a_name_that_no_volume_may_have_is_made_fit() -> None:
    platform = {
        "secretAsVolume": [{"secretName": "team.tokens", "mountPath": "/a"}],
        "configMapAsVolume": [{"configMapName": "team.tokens", "mountPath": "/b"}],
    }

    pod = pod_of(make_launch(platform=platform))

    names = [volume["name"] for volume in pod["spec"]["volumes"]]
    assert len(set(names)) == 2
    assert all("." not in name and len(name) <= 63 for name in names)
    assert [mount["name"] for mount in main_of(pod)["volumeMounts"]] == names


TERM = {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100"]}]}
NODE_JSON = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}
PLACES = [
    ({"nodeSelector": {"labels": {"disk": "ssd"}}}, "nodeSelector", {"disk": "ssd"}),
    ({"nodeSelector": {"nodeSelectorJson": constant({"a": "b"})}}, "nodeSelector", {"a": "b"}),
    ({"nodeSelector": {"nodeSelectorJson": {"componentInputParameter": "none"}}}, "nodeSelector", None),
    (
        {"tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": "30"}]},
        "tolerations",
        [{"key": "k", "operator": "Exists", "tolerationSeconds": 30}],
    ),
    (
        {
            "tolerations": [
                {"tolerationJson": constant([{"key": "a"}, {}])},
                {"tolerationJson": constant({"key": "b"})},
            ]
        },
        "tolerations",
        [{"key": "a"}, {"key": "b"}],
    ),
    (
        {"nodeAffinity": [TERM, {**TERM, "weight": 5}, {"nodeAffinityJson": constant(NODE_JSON)}, {}]},
        "affinity",
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM, TERM]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": TERM}],
            }
        },
    ),
    (
        {
            "podAffinity": [
                {"matchPodLabels": {"app": "db"}, "topologyKey": "zone"},
                {"matchPodLabels": {"app": "noisy"}, "topologyKey": "host", "anti": True, "weight": 3},
            ]
        },
        "affinity",
        {
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}
                ]
            },
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 3,
                        "podAffinityTerm": {
                            "topologyKey": "host",
                            "labelSelector": {"matchLabels": {"app": "noisy"}},
                        },
                    }
                ]
            },
        },
    ),
    ({"imagePullSecret": [{"secretName": "r"}]}, "imagePullSecrets", [{"name": "r"}]),
    ({"activeDeadlineSeconds": "60"}, "activeDeadlineSeconds", 60),
]


@pytest.mark.parametrize(("platform", "field", "expected"), PLACES)
def test_where_and_how_long_a_pod_runs(platform: Json, field: str, expected: Any) -> None:
    assert pod_of(make_launch(platform=platform))["spec"].get(field) == expected


def test_own_labels_and_annotations_do_not_hide_those_that_name_the_task() -> None:
    platform = {
        "podMetadata": {"labels": {"team": "a", "pipeline/runid": "fake"}, "annotations": {"note": "x"}}
    }

    metadata = pod_of(make_launch(platform=platform))["metadata"]

    assert metadata["labels"] == {
        "team": "a",
        "pipeline/runid": "r-1",
        "pipelines.kubeflow.org/v2_component": "true",
    }
    assert metadata["annotations"]["note"] == "x"


def test_the_administrator_decides_who_a_step_runs_as() -> None:
    asked = {"securityContext": {"runAsUser": "1000", "runAsGroup": 1000}}

    context = main_of(pod_of(make_launch(platform=asked), run_as_user=2000))["securityContext"]

    assert (context["runAsUser"], context["runAsGroup"]) == (2000, 1000)


def test_containers_come_in_the_order_fetch_own_deliver() -> None:
    placement = Placement(
        volumes=[{"name": "artifacts"}],
        mounts=[{"name": "artifacts", "mountPath": "/minio"}],
        init_containers=[{"name": "fetch"}],
        sidecars=[{"name": "deliver", "restartPolicy": "Always"}],
        node_selector={"machine": "own"},
        grace_seconds=600,
    )
    platform = {
        "initContainers": [
            {"name": "prepare", "image": "i", "volumeMounts": [{"volumeName": "e", "mountPath": "/e"}]}
        ],
        "emptyDirMounts": [{"volumeName": "e", "mountPath": "/e"}],
        "nodeSelector": {"labels": {"a": "b"}},
    }

    spec = pod_of(make_launch(platform=platform), placement)["spec"]

    assert [container["name"] for container in spec["initContainers"]] == ["fetch", "prepare", "deliver"]
    assert spec["initContainers"][1]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["nodeSelector"] == {"a": "b", "machine": "own"}
    assert spec["terminationGracePeriodSeconds"] == 600


WITH_WORKSPACE = {"platforms": {"kubernetes": {"pipelineConfig": {"workspace": {"size": "1Gi"}}}}}


def test_a_workspace_is_mounted_where_an_input_names_it() -> None:
    by_path = make_launch(inputs=Values({"where": "/kfp-workspace/data"}))
    deep = make_launch(inputs=Values({"files": {"/kfp-workspace/data": 1}}))
    by_artifact = make_launch(inputs=Values({}, {"x": (make_artifact(_kfp_workspace=True),)}))
    run = make_run(platform_spec=WITH_WORKSPACE)

    for launch in (by_path, deep, by_artifact):
        step = make_step(run, launch, ROOT, "salt")
        assert step.parts.volumes.volumes == [
            {"name": "kfp-workspace", "persistentVolumeClaim": {"claimName": "digits-x7-kfp-workspace"}}
        ]
        assert not make_step(make_run(), launch, ROOT, "salt").parts.volumes.volumes
    path = "{{$.inputs.artifacts['x'].path}}"
    step = make_step(run, make_launch(inputs=by_artifact.inputs, args=[path]), ROOT, "salt")
    assert step.args == ["/kfp-workspace/.artifacts/minio/mlpipeline/v2/artifacts/digits/r-1/load/s/data"]


def test_a_task_config_is_what_the_pod_does_not_get() -> None:
    component = {
        "inputDefinitions": {"parameters": {"config": {"parameterType": "TASK_CONFIG"}}},
        "taskConfigPassthroughs": [
            {"field": "RESOURCES"},
            {"field": "KUBERNETES_NODE_SELECTOR", "applyToTask": True},
        ],
    }
    launch = make_launch(
        component=component,
        container={"resources": {"resourceCpuLimit": "4"}, "env": [{"name": "A", "value": "1"}]},
        platform={"nodeSelector": {"labels": {"disk": "ssd"}}},
        args=["{{$.inputs.parameters['config']}}"],
    )

    step = make_step(make_run(), launch, ROOT, "salt")
    pod = pod_of(launch)

    assert step.executor_input["inputs"]["parameterValues"]["config"] == {
        "affinity": None,
        "tolerations": [],
        "nodeSelector": {"disk": "ssd"},
        "env": [],
        "volumes": [],
        "volumeMounts": [],
        "resources": {"limits": {"cpu": "4"}},
    }
    assert "resources" not in main_of(pod)
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert {"name": "A", "value": "1"} in main_of(pod)["env"]


REFUSED = [
    ({"imagePullPolicy": "Sometimes"}, "unsupported value: Sometimes"),
    ({"secretAsVolume": [{"mountPath": "/a"}]}, "says neither secretName nor secretNameParameter"),
    ({"pvcMount": [{"pvcNameParameter": constant(7), "mountPath": "/a"}]}, "is 7, and not a name"),
    ({"pvcMount": [{"componentInputParameter": "gone", "mountPath": "/a"}]}, "the claim to mount has no name"),
    (
        {"pvcMount": [{"taskOutputParameter": {"producerTask": "x", "outputParameterKey": "name"}, "mountPath": "/a"}]},
        "wants output 'name' of task 'x'",
    ),
    ({"nodeSelector": {"nodeSelectorJson": constant(["x"])}}, "not labels of nodes"),
    ({"tolerations": [{"tolerationJson": constant("x")}]}, "neither a toleration nor a list"),
    ({"initContainers": [{"name": "main", "image": "i"}]}, "conflicts with an existing container"),
    ({"securityContext": {"runAsUser": "0", "runAsNonRoot": True}}, "runAsUser=0 (root) is not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("platform", "message"), REFUSED, ids=[item[1] for item in REFUSED])
def test_what_makes_no_pod_is_refused_by_name(platform: Json, message: str) -> None:
    with pytest.raises(StepFailed, match="task 'train'") as raised:
        pod_of(make_launch(platform=platform))

    assert message in raised.value.message
