"""A run is an object: kubectl makes it, waits for it, shows it and ends it, with no SDK in sight."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = pytest.mark.cluster


def make_run(name: str, script: str) -> dict[str, Any]:
    """Build a Run of one container that is told a word, in an image that needs no Python for it."""
    container = {
        "image": "proa.local/python",
        "command": ["sh", "-ec", script, "sh"],
        "args": ["{{$.inputs.parameters['word']}}", "{{$.outputs.parameters['said'].output_file}}"],
    }
    word = {"parameters": {"word": {"parameterType": "STRING"}}}
    task = {
        "componentRef": {"name": "comp-say"},
        "inputs": {"parameters": {"word": {"componentInputParameter": "word"}}},
        "taskInfo": {"name": "say"},
    }
    said = {"parameters": {"said": {"parameterType": "STRING"}}}
    spec = {
        "pipelineInfo": {"name": "saying"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": {"say": task}}, "inputDefinitions": word},
        "components": {
            "comp-say": {"executorLabel": "exec-say", "inputDefinitions": word, "outputDefinitions": said}
        },
        "deploymentSpec": {"executors": {"exec-say": {"container": container}}},
    }
    return {
        "apiVersion": "pipelines.proa.dev/v1",
        "kind": "Run",
        "metadata": {"name": name},
        "spec": {"pipelineSpec": spec, "parameters": {"word": "ahoy"}},
    }


def apply_run(cluster: Cluster, namespace: str, run: dict[str, Any]) -> None:
    """Apply it; the kind is there a moment after the cluster is ready."""
    definition = "crd/runs.pipelines.proa.dev"
    cluster.kubectl("wait", definition, "--for=create", "--timeout=120s")
    cluster.kubectl("wait", definition, "--for=condition=Established", "--timeout=120s")
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(run))


def test_an_applied_run_is_carried_out(cluster: Cluster, namespace: str) -> None:
    apply_run(cluster, namespace, make_run("greeting", 'echo "$1" | tee "$2"'))
    cluster.kubectl(
        *("wait", "run.pipelines.proa.dev/greeting", "-n", namespace, "--timeout=120s"),
        "--for=jsonpath={.status.state}=SUCCEEDED",
    )
    pods = cluster.get("pods", "-n", namespace)["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Succeeded"]
    assert cluster.kubectl("logs", "-n", namespace, pods[0]["metadata"]["name"]).stdout == "ahoy\n"
    shown = cluster.kubectl("get", "run.pipelines.proa.dev/greeting", "-n", namespace).stdout
    assert "SUCCEEDED" in shown
    assert "1/1" in shown


def test_a_run_that_is_deleted_ends_with_its_pods(cluster: Cluster, namespace: str) -> None:
    apply_run(cluster, namespace, make_run("long", "sleep 600"))
    cluster.kubectl(
        *("wait", "pod", "-n", namespace, "-l", "pipelines.kubeflow.org/v2_component=true", "--timeout=120s"),
        "--for=create",
    )
    cluster.kubectl("delete", "run.pipelines.proa.dev/long", "-n", namespace, "--timeout=120s")
    cluster.kubectl(
        *("wait", "pod", "-n", namespace, "-l", "pipelines.kubeflow.org/v2_component=true", "--timeout=120s"),
        "--for=delete",
    )


def test_a_run_that_makes_no_sense_says_where(cluster: Cluster, namespace: str) -> None:
    run = make_run("wrong", "true")
    run["spec"]["pipelineSpec"]["root"]["dag"]["tasks"]["say"]["componentRef"]["name"] = "comp-none"
    apply_run(cluster, namespace, run)
    cluster.kubectl(
        *("wait", "run.pipelines.proa.dev/wrong", "-n", namespace, "--timeout=120s"),
        "--for=jsonpath={.status.state}=FAILED",
    )
    told = cluster.get("run.pipelines.proa.dev/wrong", "-n", namespace)["status"]["message"]
    assert "root.dag.tasks[say].componentRef" in told
    assert "comp-none" in told
