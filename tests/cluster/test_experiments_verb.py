"""`proa experiments` on a real cluster, and what kubectl knows of the kinds of tuning and training."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from support.clusters import ROOT, Cluster
from support.experiments import apply, make_container, make_experiment, make_job

pytestmark = pytest.mark.cluster

KINDS = {
    "experiments.kubeflow.org": "spec.objective",
    "suggestions.kubeflow.org": "spec.requests",
    "trials.kubeflow.org": "spec.parameterAssignments",
    "pytorchjobs.kubeflow.org": "spec.pytorchReplicaSpecs",
    "trainjobs.trainer.kubeflow.org": "spec.trainer",
    "trainingruntimes.trainer.kubeflow.org": "spec.mlPolicy",
    "clustertrainingruntimes.trainer.kubeflow.org": "spec.mlPolicy",
    "jobsets.jobset.x-k8s.io": "spec.replicatedJobs",
}


def test_kubectl_knows_every_kind_and_explains_its_fields(cluster: Cluster) -> None:
    listed = set(cluster.kubectl("api-resources", "-o", "name", "--cached=false").stdout.split())
    assert set(KINDS) <= listed
    for kind, field in KINDS.items():
        plural, _, group = kind.partition(".")
        version = cluster.get("crd", kind)["spec"]["versions"][0]["name"]
        told = cluster.kubectl("explain", f"{plural}.{field}", f"--api-version={group}/{version}").stdout
        assert f"FIELD: {field.rpartition('.')[2]} <" in told, kind
    assert "-required-" in cluster.kubectl("explain", "experiment.spec").stdout
    for example in ("experiment.yaml", "mnist-pytorchjob.yaml"):
        cluster.kubectl("apply", "--dry-run=server", "-f", str(ROOT / "examples" / example))


def test_an_experiment_is_followed_shown_backed_up_and_removed(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    trial = make_job(make_container("for step in 1 2 3; do echo score=0.0$step; done; echo score=$1"))
    apply(cluster, namespace, make_experiment("looked-at", trial, maxTrialCount=3, parallelTrialCount=3))

    followed = cluster.proa("experiments", "show", "-f", "looked-at", "-n", namespace).stdout
    assert followed.count(" succeeded score=") == 3
    assert "3 of 3 trials: 3 succeeded; 3 at a time" in followed
    best = json.loads(cluster.proa("experiments", "best", "looked-at", "-n", namespace, "-o", "json").stdout)
    assert f"(trial {best['trial']})" in followed

    listed = cluster.proa("experiments", "ls", "-A", "-o", "wide").stdout
    (row,) = [line.split() for line in listed.splitlines() if line.startswith(f"{namespace} ")]
    assert row[1:4] == ["looked-at", "Succeeded", "3/3"]
    trials = cluster.proa("experiments", "trials", "looked-at", "-n", namespace, "--sort", "value").stdout
    assert trials.splitlines()[1].startswith(best["trial"])

    shown = ("experiments", "show", "looked-at", "--trial", best["trial"], "-n", namespace)
    points = json.loads(cluster.proa(*shown, "-o", "json").stdout)["points"]
    assert [point["value"] for point in points] == ["0.01", "0.02", "0.03", best["metrics"]["score"]]
    assert "its 4 points" in cluster.proa(*shown).stdout

    backup = tmp_path / "backup.gz"
    cluster.proa("backup", str(backup))
    with gzip.open(backup) as file:
        assert any(line.startswith(b'{"file":"tuning/observations.db"') for line in file)

    cluster.proa("experiments", "delete", "looked-at", "-n", namespace)
    gone = cluster.proa("experiments", "show", "looked-at", "-n", namespace, check=False)
    assert gone.returncode == 1 or "deletionTimestamp" in gone.stdout
    unknown = cluster.proa("experiments", "wait", "nowhere", "-n", namespace, check=False)
    assert (unknown.returncode, "there is no experiment 'nowhere'" in unknown.stderr) == (1, True)
