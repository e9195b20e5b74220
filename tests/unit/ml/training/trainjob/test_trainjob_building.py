"""What a TrainJob and its runtime make together."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.training.runtimes.shipped import make_runtimes
from proa.ml.training.trainjob.building import build
from proa.ml.training.trainjob.words import ANCESTOR, Unfit
from proa.objects import meta

Object = dict[str, Any]
TORCH, PLAIN = make_runtimes()


def make_trainjob(**spec: Any) -> Object:
    return {
        "metadata": {"name": "tune", "namespace": "red", "uid": "u-1"},
        "spec": {"runtimeRef": {"kind": "ClusterTrainingRuntime", "name": "torch-distributed"}, **spec},
    }


def make_step(name: str, container: str, ancestor: str, **fields: Any) -> Object:
    template = {
        "metadata": {"labels": {ANCESTOR: ancestor}},
        "spec": {"template": {"spec": {"containers": [{"name": container, "image": "i", **fields}]}}},
    }
    return {"name": name, "template": template, "replicas": 1}


def make_runtime(*steps: Object, policy: Object | None = None, **spec: Any) -> Object:
    return {
        "kind": "TrainingRuntime",
        "metadata": {"name": "own"},
        "spec": {
            "mlPolicy": {"numNodes": 2, **({"torch": {}} if policy is None else policy)},
            "template": {"spec": {"replicatedJobs": list(steps) or [make_step("node", "node", "trainer")]}},
            **spec,
        },
    }


def node_of(jobset: Object, job: int = 0) -> Object:
    container: Object = jobset["spec"]["replicatedJobs"][job]["template"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    return container


def environment_of(container: Object) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_torch_finds_its_leader_by_name_and_its_rank_by_the_pods_index() -> None:
    trainer = {
        "numNodes": 3,
        "command": ["torchrun", "t.py"],
        "args": ["--x"],
        "image": "mine",
        "env": [{"name": "A"}],
    }

    jobset, group = build(make_trainjob(trainer=trainer), TORCH)

    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["parallelism"], job["completions"], group) == (3, 3, None)
    node = node_of(jobset)
    assert (node["command"], node["args"], node["image"]) == (["torchrun", "t.py"], ["--x"], "mine")
    assert environment_of(node) == {
        "PET_NNODES": "3",
        "PET_NPROC_PER_NODE": "1",
        "PET_NODE_RANK": {
            "fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
        },
        "PET_MASTER_ADDR": "tune-node-0-0.tune",
        "PET_MASTER_PORT": "29500",
        "A": None,
    }
    assert node["ports"] == [{"containerPort": 29500, "protocol": "TCP"}]
    assert jobset["metadata"]["ownerReferences"][0]["kind"] == "TrainJob"
    assert jobset["spec"]["suspend"] is False


@pytest.mark.parametrize(
    ("trainer", "processes"),
    [
        ({}, "1"),
        ({"numProcPerNode": 4}, "4"),
        ({"resourcesPerNode": {"requests": {"cpu": "2500m"}}}, "3"),
        ({"resourcesPerNode": {"limits": {"cpu": "2"}}}, "2"),
        ({"resourcesPerNode": {"limits": {"nvidia.com/gpu": "2", "cpu": "8"}}}, "auto"),
    ],
)
def test_how_many_processes_a_node_has_follows_from_its_resources(trainer: Object, processes: str) -> None:
    jobset, _ = build(make_trainjob(trainer=trainer), TORCH)

    assert environment_of(node_of(jobset))["PET_NPROC_PER_NODE"] == processes


def test_a_runtime_without_a_framework_sets_nothing() -> None:
    jobset, _ = build(make_trainjob(trainer={"numNodes": 2}), PLAIN)

    assert "env" not in node_of(jobset)
    assert jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["backoffLimit"] == 0


def test_jax_and_xgboost_have_their_own_words() -> None:
    jax, _ = build(make_trainjob(), make_runtime(policy={"jax": {}}))
    boost, _ = build(make_trainjob(), make_runtime(policy={"xgboost": {}}))

    assert environment_of(node_of(jax))["JAX_COORDINATOR_ADDRESS"] == "tune-node-0-0.tune:29500"
    assert environment_of(node_of(boost))["DMLC_NUM_WORKER"] == "2"


def test_resources_are_laid_over_those_of_the_runtime() -> None:
    step = make_step("node", "node", "trainer", resources={"limits": {"cpu": "1", "memory": "1Gi"}})

    jobset, _ = build(
        make_trainjob(trainer={"resourcesPerNode": {"limits": {"cpu": "4"}}}), make_runtime(step)
    )

    assert node_of(jobset)["resources"] == {"limits": {"cpu": "4", "memory": "1Gi"}}


def test_initializers_are_told_what_to_fetch() -> None:
    mount = {"volumeMounts": [{"name": "initializer", "mountPath": "/workspace"}]}
    data = make_step("dataset-initializer", "dataset-initializer", "dataset-initializer", **mount)
    dataset = {"storageUri": "hf://a/b", "env": [{"name": "X", "value": "1"}], "secretRef": {"name": "token"}}

    jobset, _ = build(
        make_trainjob(initializer={"dataset": dataset}),
        make_runtime(data, make_step("node", "node", "trainer")),
    )

    container = node_of(jobset)
    assert environment_of(container) == {"STORAGE_URI": "hf://a/b", "X": "1"}
    assert container["envFrom"] == [{"secretRef": {"name": "token"}}]
    assert jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"] == 1


def test_patches_of_both_forms_merge_pod_templates_by_name() -> None:
    spec = {
        "nodeSelector": {"zone": "a"},
        "containers": [{"name": "node", "volumeMounts": [{"mountPath": "/x"}]}],
    }
    pods = {"metadata": {"labels": {"p": "q"}}, "spec": spec}
    patch = {
        "manager": "me.org/x",
        "trainingRuntimeSpec": {
            "template": {
                "metadata": {"labels": {"on": "jobset"}},
                "spec": {"replicatedJobs": [{"name": "node", "template": {"spec": {"template": pods}}}]},
            }
        },
    }
    old = {"targetJobs": [{"name": "node"}], **pods}

    new_form, _ = build(make_trainjob(runtimePatches=[patch]), TORCH)
    old_form, _ = build(make_trainjob(podTemplateOverrides=[old]), TORCH)

    assert meta.labels(new_form) == {"on": "jobset"}
    for jobset in (new_form, old_form):
        template = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
        assert template["metadata"]["labels"] == {"p": "q"}
        assert template["spec"]["nodeSelector"] == {"zone": "a"}
        assert node_of(jobset)["volumeMounts"] == [{"mountPath": "/x"}]
        assert node_of(jobset)["image"].startswith("pytorch/")


def test_a_gang_is_those_pods_that_start_together() -> None:
    data = make_step("dataset-initializer", "dataset-initializer", "dataset-initializer")
    node = make_step("node", "node", "trainer", resources={"requests": {"cpu": "500m"}})
    node["dependsOn"] = [{"name": "dataset-initializer", "status": "Complete"}]
    runtime = make_runtime(data, node, podGroupPolicy={"coscheduling": {"scheduleTimeoutSeconds": 9}})

    jobset, group = build(make_trainjob(trainer={"numNodes": 3}), runtime)

    assert group is not None
    assert group["spec"] == {"minMember": 3, "minResources": {"cpu": "1500m"}, "scheduleTimeoutSeconds": 9}
    labels = [
        meta.labels(job["template"]["spec"]["template"]).get("scheduling.x-k8s.io/pod-group")
        for job in jobset["spec"]["replicatedJobs"]
    ]
    assert labels == [None, "tune"]


def test_variables_may_be_injected_into_other_containers() -> None:
    step = make_step("node", "node", "trainer")
    step["template"]["spec"]["template"]["spec"]["initContainers"] = [{"name": "check", "image": "i"}]
    targets = {"targets": [{"jobName": "node", "containerNames": ["check"]}]}

    jobset, _ = build(make_trainjob(), make_runtime(step, policy={"torch": {"envInjection": targets}}))

    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert environment_of(pod["initContainers"][0])["PET_NNODES"] == "2"


@pytest.mark.parametrize(
    ("spec", "runtime", "words"),
    [
        ({"trainer": {"env": [{"name": "PET_NNODES"}]}}, TORCH, "[PET_NNODES]"),
        ({"initializer": {"model": {}}}, TORCH, "must have model-initializer job"),
        ({"trainer": {}}, make_runtime(policy={"mpi": {}}), "spec.mlPolicy.mpi"),
        ({"trainer": {"numNodes": 1}}, make_runtime(make_step("a", "b", "x")), "has a container node"),
        ({"trainer": {"resourcesPerNode": {"limits": {"cpu": "many"}}}}, TORCH, "spec.trainer.resourcesPerNode"),
        ({"podTemplateOverrides": [{"targetJobs": [{"name": "x"}]}]}, TORCH, "there are node"),
        (
            {"podTemplateOverrides": [
                {"targetJobs": [{"name": "node"}], "spec": {"containers": [{"name": "node", "env": [{"name": "A"}]}]}}
            ]},
            TORCH,
            "must not have envs for the",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_by_its_field(spec: Object, runtime: Object, words: str) -> None:
    with pytest.raises(Unfit) as unfit:
        build(make_trainjob(**spec), runtime)

    assert words in unfit.value.message


def test_building_changes_neither_the_trainjob_nor_the_runtime() -> None:
    trainjob = make_trainjob(trainer={"numNodes": 3, "resourcesPerNode": {"limits": {"cpu": "1"}}})
    before = repr((trainjob, TORCH))

    assert build(trainjob, TORCH) == build(trainjob, TORCH)
    assert repr((trainjob, TORCH)) == before


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        (
            {"numProcPerNode": 1},
            "full_finetune_single_device --config qwen2_5/1.5B_full_single_device",
        ),
        (
            {"numProcPerNode": 2},
            "--rdzv_endpoint=tune-node-0-0.tune:29500 full_finetune_distributed --config qwen2_5/1.5B_full",
        ),
        (
            {"numProcPerNode": 2, "args": ["model.lora_attn_modules=[q_proj]"]},
            "--rdzv_endpoint=tune-node-0-0.tune:29500 lora_finetune_distributed --config qwen2_5/1.5B_lora",
        ),
        (
            {"numProcPerNode": 1, "args": ["model.lora_attn_modules=[q]", "model.quantize_base=True"]},
            "lora_finetune_single_device --config qwen2_5/1.5B_qlora_single_device",
        ),
    ],
)
def test_torchtune_is_told_its_recipe_and_where_its_runtime_keeps_files(trainer: Object, words: str) -> None:
    step = make_step("node", "node", "trainer", command=["tune", "run", "dataset=x", "output_dir=/out"])
    reference = {"runtimeRef": {"name": "torchtune-qwen2.5-1.5b"}}

    jobset, _ = build(
        make_trainjob(trainer={"command": ["tune", "run"], "numNodes": 1, **trainer}, **reference),
        make_runtime(step),
    )

    assert " ".join(node_of(jobset)["command"]) == f"tune run {words} output_dir=/out"
    assert "PET_MASTER_ADDR" not in environment_of(node_of(jobset))


def test_torchtune_of_no_known_model_does_not_fit() -> None:
    with pytest.raises(Unfit, match="supported pretrained model"):
        build(make_trainjob(trainer={"command": ["tune", "run"]}), TORCH)
