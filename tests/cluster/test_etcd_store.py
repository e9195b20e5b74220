"""`proa up --store etcd://…`: a whole cluster whose objects are in a real etcd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.clusters import Cluster, ProaCommand
from support.etcd import Etcd, run_etcd

pytestmark = pytest.mark.cluster


def test_a_cluster_in_etcd_comes_back_and_is_one_servers_alone(kubectl_path: str, tmp_path: Path) -> None:
    proa, other = (ProaCommand(tmp_path / name, sys.executable) for name in ("one", "two"))
    with run_etcd() as etcd:
        try:
            check(Cluster(proa, kubectl_path), other, etcd)
        finally:
            for each in (proa, other):
                each("reset", "--yes", check=False)


def check(cluster: Cluster, other: ProaCommand, etcd: Etcd) -> None:
    proa, address = cluster.proa, f"etcd://{etcd.host}/cluster"
    proa("up", "--detach", "--port", "0", "--store", address)
    cluster.kubectl("create", "configmap", "c", "--from-literal=a=b")
    made = cluster.get("configmap", "c")
    assert json.loads((proa.home / "cluster.json").read_text())["store"] == address
    assert not (proa.home / "store").exists()

    refused = other("up", "--detach", "--port", "0", "--store", address, check=False)
    assert refused.returncode == 1
    assert "uses this part of etcd" in refused.stderr

    etcd.pause()
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.kubectl("create", "configmap", "d", timeout=3)
    etcd.resume()
    cluster.kubectl("create", "configmap", "e")
    cluster.kubectl("wait", "--for=condition=Ready", "node/proa-1", "--timeout=120s")

    backup = proa.home.parent / "backup.gz"
    proa("backup", str(backup))
    proa("down")
    refused = proa("up", "--detach", "--store", "log", check=False)
    assert "this home was made with etcd://" in refused.stderr
    assert "restore into another home" in proa("restore", str(backup), "--yes", check=False).stderr
    proa("up", "--detach")
    assert cluster.get("configmap", "c") == made
    proa("down")

    other("restore", str(backup), "--yes")
    other("up", "--detach")
    assert Cluster(other, cluster.kubectl_path).get("configmap", "c") == made
