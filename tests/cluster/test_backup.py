"""`proa backup` of a cluster that runs, and `proa restore` into another: what was there is there again."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.clusters import Cluster, ProaCommand

pytestmark = pytest.mark.cluster

CONFIG = """\
kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [secrets]
  providers:
  - aesgcm: {keys: [{name: k1, secret: AAAAAAAAAAAAAAAAAAAAAA==}]}
  - identity: {}
"""


def test_a_cluster_comes_back_as_it_was_with_its_keys_and_encrypted_secrets(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path: Path
) -> None:
    proa = ProaCommand(tmp_path / "one", sys.executable)
    config, backup = tmp_path / "encryption.yaml", tmp_path / "backup.gz"
    config.write_text(CONFIG)
    cluster = start_cluster(proa)
    proa("down")
    proa("up", "--detach", "--encryption-config", str(config))
    cluster.kubectl("create", "secret", "generic", "s", "--from-literal=word=hush-hush")
    cluster.kubectl("create", "configmap", "c", "--from-literal=a=b")
    token = cluster.kubectl("create", "token", "default").stdout.strip()
    made = {kind: cluster.get(kind, name) for kind, name in (("secret", "s"), ("configmap", "c"))}

    written = json.loads(proa("backup", str(backup), "-o", "json").stdout)
    assert written["objects"] > 20
    assert backup.stat().st_mode & 0o777 == 0o600
    assert "--force replaces it" in proa("backup", str(backup), check=False).stderr
    assert "stop it first" in proa("restore", str(backup), "--yes", check=False).stderr
    cluster.kubectl("delete", "secret/s", "configmap/c")
    cluster.kubectl("create", "configmap", "later")
    proa("down")
    proa("restore", str(backup), "--yes")
    proa("up", "--detach")

    for kind, before in made.items():
        assert cluster.get(kind, before["metadata"]["name"]) == before
    assert "NotFound" in cluster.kubectl("get", "configmap", "later", check=False).stderr
    asked = cluster.kubectl("get", "--raw", "/version", "--token", token)
    assert "gitVersion" in asked.stdout, "a token of the time before is good again"

    other = ProaCommand(tmp_path / "two", sys.executable)
    restored = json.loads(other("restore", str(backup), "-o", "json").stdout)
    assert restored["objects"] == written["objects"]
    assert start_cluster(other).get("secret", "s") == made["secret"]
    stored = b"".join(path.read_bytes() for path in (other.home / "store").iterdir())
    for data in (gzip.decompress(backup.read_bytes()), stored):
        assert b"aHVzaC1odXNo" not in data
