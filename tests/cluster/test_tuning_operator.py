"""Experiments on a real cluster: Jobs and other kinds tried out to the end, and nothing that hangs."""

from __future__ import annotations

import json
import time

import pytest

from support.clusters import Cluster
from support.experiments import (
    KIND,
    Object,
    apply,
    last_condition,
    make_container,
    make_experiment,
    make_job,
    trials,
    wait,
    wait_until_gone,
)

pytestmark = pytest.mark.cluster

SCORE = "echo score=$1"


def test_an_experiment_is_carried_out_changed_resumed_and_deleted(cluster: Cluster, namespace: str) -> None:
    first = make_experiment(
        "first",
        make_job(make_container(SCORE)),
        maxTrialCount=6,
        parallelTrialCount=3,
        resumePolicy="LongRunning",
    )
    apply(cluster, namespace, first)
    done = wait(cluster, namespace, "first", "Succeeded")["status"]
    assert done["trialsSucceeded"] == len(done["succeededTrialList"]) == 6
    values = {
        t["metadata"]["name"]: t["spec"]["parameterAssignments"][0]["value"]
        for t in trials(cluster, namespace, "first")
    }
    best = max(values, key=lambda name: float(values[name]))
    assert done["currentOptimalTrial"]["bestTrialName"] == best
    told = done["currentOptimalTrial"]["observation"]["metrics"]
    assert told == [{"name": "score", "min": values[best], "max": values[best], "latest": values[best]}]
    wait_until_gone(cluster, namespace, "jobs,pods")

    cluster.kubectl(
        "patch", KIND, "first", "-n", namespace, "--type=merge", "-p", '{"spec":{"maxTrialCount":8}}'
    )
    wait(cluster, namespace, "first", "Restarting")
    cluster.kubectl(
        "wait",
        f"{KIND}/first",
        "-n",
        namespace,
        "--for=jsonpath={.status.trialsSucceeded}=8",
        "--timeout=120s",
    )
    wait(cluster, namespace, "first", "Succeeded")

    cluster.kubectl("delete", KIND, "first", "-n", namespace)
    wait_until_gone(cluster, namespace, f"{KIND},suggestions.kubeflow.org,trials.kubeflow.org,jobs,pods")


def test_each_trial_that_cannot_go_on_ends_with_words_that_help(cluster: Cluster, namespace: str) -> None:
    """Every one of these would wait for ever, or fail without a word."""
    secret = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "a"}}}]
    asked: dict[str, tuple[Object, Object, str, str]] = {
        "silent": (make_job(make_container("echo nothing")), {}, "MetricsUnavailable", "score"),
        "no-file": (
            make_job(
                make_container("rm -rf /var/log/katib/*; mkdir /var/log/katib/metrics.log; echo score=1")
            ),
            {},
            "MetricsUnavailable",
            "score",
        ),
        "failing": (
            make_job(make_container("echo score=1; exit 3")),
            {},
            "Failed",
            "container main ended with exit code 3",
        ),
        "no-image": (
            make_job(make_container(SCORE, image="127.0.0.1:9/none:1")),
            {},
            "Failed",
            "ImagePullBackOff",
        ),
        "never-pulled": (
            make_job(make_container(SCORE, image="127.0.0.1:9/none:1", imagePullPolicy="Never")),
            {},
            "Failed",
            "imagePullPolicy",
        ),
        "no-secret": (
            make_job(make_container(SCORE, env=secret)),
            {},
            "Failed",
            'CreateContainerConfigError: secret "none" not found',
        ),
        "no-node": (
            make_job(make_container(SCORE), nodeSelector={"no": "node"}),
            {},
            "Failed",
            "finds no node: 0/1 nodes are available",
        ),
        "refused": (
            make_job(make_container(SCORE), restartPolicy="Always"),
            {},
            "Failed",
            "spec.template.spec.restartPolicy",
        ),
        "pushing": (
            make_job(make_container("true")),
            {"metricsCollectorSpec": {"collector": {"kind": "Push"}}},
            "MetricsUnavailable",
            "nothing was reported to katib-db-manager.kubeflow:6789",
        ),
        "unknown-kind": (
            {"apiVersion": "example.com/v1", "kind": "Sail", "spec": {"to": "${trialParameters.x}"}},
            {
                "trialTemplate": {"successCondition": "status.done", "failureCondition": "status.failed"},
                "metricsCollectorSpec": {"collector": {"kind": "Push"}},
            },
            "Failed",
            'no matches for kind "Sail" in version "example.com/v1"',
        ),
    }
    experiments = [
        make_experiment(name, run, deadline_seconds=8, maxFailedTrialCount=1, **spec)
        for name, (run, spec, _, _) in asked.items()
    ]
    apply(cluster, namespace, *experiments)
    for name, (_, _, type, words) in asked.items():
        failed = wait(cluster, namespace, name, "Failed")
        assert last_condition(failed)[1] == "ExperimentFailed"
        [trial] = trials(cluster, namespace, name)
        found = last_condition(trial)
        assert (found[0], words in found[2]) == (type, True), (name, found)
    wait_until_gone(cluster, namespace, "jobs")


def test_a_job_whose_pods_are_refused_fails_its_trial(cluster: Cluster, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    apply(cluster, namespace, quota)
    cluster.kubectl("wait", "resourcequota/none", "-n", namespace, "--for=jsonpath={.status.hard.pods}=0")
    experiment = make_experiment(
        "full", make_job(make_container(SCORE)), deadline_seconds=1, maxFailedTrialCount=1
    )
    apply(cluster, namespace, experiment)
    wait(cluster, namespace, "full", "Failed")
    [trial] = trials(cluster, namespace, "full")
    assert last_condition(trial)[:2] == ("Failed", "NoPods")
    assert "exceeded quota: none" in last_condition(trial)[2]


def let(cluster: Cluster, role: Object, verbs: list[str]) -> None:
    """Let the operator do this with boats, and wait until it may."""
    rule = {"apiGroups": ["example.org"], "resources": ["boats"], "verbs": verbs}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({**role, "rules": [rule]}))
    account = "system:serviceaccount:kube-system:tuning-operator"
    for verb in verbs:
        deadline = time.monotonic() + 90
        asked = ("auth", "can-i", verb, "boats.example.org", f"--as={account}")
        while cluster.kubectl(*asked, check=False).returncode:
            assert time.monotonic() < deadline, verb


def test_a_kind_of_ones_own_is_tried_by_its_conditions_once_the_operator_may(
    cluster: Cluster, namespace: str
) -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(definition))
    cluster.kubectl("wait", "crd/boats.example.org", "--for=condition=Established", "--timeout=120s")
    boat = {"apiVersion": "example.org/v1", "kind": "Boat", "spec": {"speed": "${trialParameters.x}"}}
    when = {"successCondition": 'state.#(type=="Arrived")', "failureCondition": 'state.#(type=="Sunk")'}
    spec = {
        "trialTemplate": when,
        "metricsCollectorSpec": {"collector": {"kind": "Push"}},
        "maxFailedTrialCount": 1,
    }
    apply(cluster, namespace, make_experiment("forbidden", boat, **spec))
    wait(cluster, namespace, "forbidden", "Failed")
    [trial] = trials(cluster, namespace, "forbidden")
    assert "rbac.authorization.k8s.io/aggregate-to-tuning-operator" in last_condition(trial)[2]

    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": "boats-of-trials",
            "labels": {"rbac.authorization.k8s.io/aggregate-to-tuning-operator": "true"},
        },
    }
    let(cluster, role, ["get", "list", "create", "delete"])
    apply(cluster, namespace, make_experiment("unseen", boat, **spec))
    wait(cluster, namespace, "unseen", "Failed")
    [trial] = trials(cluster, namespace, "unseen")
    assert "cannot watch it in all namespaces" in last_condition(trial)[2]

    let(cluster, role, ["get", "list", "watch", "create", "delete"])
    apply(cluster, namespace, make_experiment("sailing", boat, **spec))
    cluster.kubectl(
        "wait",
        f"{KIND}/sailing",
        "-n",
        namespace,
        "--for=jsonpath={.status.trialsRunning}=1",
        "--timeout=120s",
    )
    [trial] = trials(cluster, namespace, "sailing")
    name = trial["metadata"]["name"]
    arrived = json.dumps({"state": [{"type": "Arrived", "message": "ashore"}]})
    cluster.kubectl("patch", "boats.example.org", name, "-n", namespace, "--type=merge", "-p", arrived)
    wait(cluster, namespace, "sailing", "Failed")
    [trial] = trials(cluster, namespace, "sailing")
    type, _, message = last_condition(trial)
    assert type == "MetricsUnavailable"
    assert message.startswith("Metrics are not available. Job message: ashore")
    wait_until_gone(cluster, namespace, "boats.example.org")


def test_training_jobs_are_trials_and_only_their_first_pod_is_asked(cluster: Cluster, namespace: str) -> None:
    torch = make_container('echo score=$1 of=$HOSTNAME; test "$RANK" = 0 || sleep 0.1', name="pytorch")
    role = {"replicas": 1, "restartPolicy": "Never", "template": {"spec": {"containers": [torch]}}}
    pytorch = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "spec": {"pytorchReplicaSpecs": {"Master": role, "Worker": role}},
    }
    trainer = {
        "image": "proa.local/python",
        "command": ["sh", "-c", "echo score=$0", "${trialParameters.x}"],
        "numNodes": 2,
    }
    train = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "spec": {"runtimeRef": {"name": "torch-distributed"}, "trainer": trainer},
    }
    experiments = {
        name: make_experiment(
            name,
            run,
            maxTrialCount=2,
            maxFailedTrialCount=1,
            trialTemplate={"primaryContainerName": container},
        )
        for name, run, container in (("pytorch", pytorch, "pytorch"), ("train", train, "node"))
    }
    apply(cluster, namespace, *experiments.values())
    for name in experiments:
        wait(cluster, namespace, name, "Succeeded", 90)
        for trial in trials(cluster, namespace, name):
            value = trial["spec"]["parameterAssignments"][0]["value"]
            assert trial["status"]["observation"]["metrics"][0]["latest"] == value
    wait_until_gone(cluster, namespace, "pytorchjobs,trainjobs,trainingruntimes,jobsets,jobs,pods")
