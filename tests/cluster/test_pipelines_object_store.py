"""A pipeline of the real SDK passes its artifacts on through a real object store, in images that need no Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster, run
from support.sdk_venvs import KFP, make_sdk_venv
from support.seaweedfs import ACCESS_KEY, SECRET_KEY, open_bucket, run_seaweedfs_in

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600, func_only=True)]
PROGRAM = Path(__file__).parent / "programs" / "kfp_object_store.py"
IMPORTED = "minio://mlpipeline/imported/data"
Run = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def bucket(cluster: Cluster, namespace: str) -> Iterator[Any]:
    """A namespace whose artifacts are in an object store, and the bucket of it."""
    reference = {"secretName": "keys", "accessKeyKey": "a", "secretKeyKey": "s"}
    with run_seaweedfs_in(cluster, namespace) as endpoint:
        default = {"endpoint": endpoint, "disableSSL": True, "credentials": {"secretRef": reference}}
        literals = (f"--from-literal=a={ACCESS_KEY}", f"--from-literal=s={SECRET_KEY}")
        cluster.kubectl("create", "secret", "generic", "keys", "-n", namespace, *literals)
        providers = f"--from-literal=providers={json.dumps({'minio': {'default': default}})}"
        cluster.kubectl("create", "configmap", "kfp-launcher", "-n", namespace, providers)
        port = cluster.get("service", "weed", "-n", namespace)["spec"]["ports"][0]["nodePort"]
        yield open_bucket(f"127.0.0.1:{port}", "mlpipeline")


@pytest.fixture
def run_pipeline(cluster: Cluster, namespace: str) -> Run:
    cluster.kubectl("create", "serviceaccount", "user", "-n", namespace)
    subject = f"--serviceaccount={namespace}:user"
    cluster.kubectl("create", "rolebinding", "user", "-n", namespace, "--clusterrole=edit", subject)
    token = cluster.kubectl("create", "token", "user", "-n", namespace).stdout.strip()
    host = cluster.proa.status()["pipelines"]
    python = str(make_sdk_venv("kfp", KFP))

    def call(times: int) -> list[dict[str, Any]]:
        command = [python, str(PROGRAM), host, token, namespace, IMPORTED, str(times)]
        ended: list[dict[str, Any]] = json.loads(run(command, timeout=300).stdout.splitlines()[-1])
        return ended

    return call


def test_a_pipeline_passes_artifacts_on_through_an_object_store(bucket: Any, run_pipeline: Run) -> None:
    import obstore

    obstore.put(bucket, "imported/data", b"imported\n")

    first, second = run_pipeline(2)

    assert first == {"state": "SUCCEEDED", "errors": [], "executed": 4}
    assert second == {"state": "SUCCEEDED", "errors": [], "executed": 0}
    (model,) = [key for key in keys_of(bucket) if key.endswith("/model")]
    assert bytes(obstore.get(bucket, model).bytes()) == b"42\n"

    obstore.delete(bucket, model)
    (third,) = run_pipeline(1)

    assert third["state"] == "SUCCEEDED"
    assert third["executed"] >= 1
    assert len([key for key in keys_of(bucket) if key.endswith("/model")]) == 1

    obstore.delete(bucket, "imported/data")
    (fourth,) = run_pipeline(1)

    assert fourth["state"] == "FAILED"
    assert any(f"artifact {IMPORTED}: nothing is there to import" in error for error in fourth["errors"])


def keys_of(bucket: Any) -> list[str]:
    import obstore

    return [meta["path"] for batch in obstore.list(bucket) for meta in batch]
