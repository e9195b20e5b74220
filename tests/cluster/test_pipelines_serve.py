"""`proa pipelines serve` beside a cluster that has no pipelines, with no more rights than the manifest gives it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.clusters import ROOT, Cluster, ProaCommand
from support.pipelines_operator import SUM, SUM_FILE, TAKES_A, make_spec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
MANIFEST = ROOT / "examples" / "pipelines-elsewhere.yaml"
ROLES = ("pipeline-runner", "pipelines-edit", "pipelines-view", "controller:pipelines-operator")
TIMING = ("--lease-duration", "4", "--renew-deadline", "3", "--retry-period", "0.5")
DEADLINE_SECONDS = 120.0
ADD = 'mkdir -p "$(dirname "$2")"; sleep "$1"; echo $(($0 + 1)) > "$2"'
OF_ONE = {"taskOutputParameter": {"producerTask": "one", "outputParameterKey": "sum"}}
SPEC = make_spec(
    {
        "one": {"do": ["sh", "-c", ADD, "0", "3", SUM_FILE], "outputs": SUM},
        "two": {
            "do": ["sh", "-c", ADD, "{{$.inputs.parameters['a']}}", "0", SUM_FILE],
            "outputs": SUM,
            "takes": TAKES_A,
            "dependentTasks": ["one"],
            "inputs": {"parameters": {"a": OF_ONE}},
        },
    }
)


def until(is_true: Callable[[], Any], what: str) -> Any:
    """Wait until something gives something true; return it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := is_true():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what}")


class Server:
    """One `proa pipelines serve`."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self._log = log
        folder = kubeconfig.parent
        own = ["--database", str(folder / "p.db"), "--artifacts", str(folder / "artifacts")]
        command = [sys.executable, "-m", "proa", "pipelines", "serve", "--kubeconfig", str(kubeconfig), *own]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--port", "0", "--health-port", "-1", *TIMING],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd="/",
            )
        self._url = until(self._find_url, "it says where it is")

    def _find_url(self) -> str:
        assert self.process.poll() is None, self._log.read_text()
        lines = [
            line for line in self._log.read_text().splitlines() if line.startswith("pipelines serve as ")
        ]
        return lines[0].split()[4] if lines else ""

    def ask(self, path: str, token: str = "", body: Any = None) -> tuple[int, Any]:
        """Return the status and the answer to a request below the API's root."""
        request = urllib.request.Request(f"{self._url}/apis/v2beta1/{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        if token:
            request.add_header("authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def works(self) -> bool:
        """Tell whether it answers, and does not stand by."""
        return self.ask("healthz")[0] == 200

    def end(self, number: signal.Signals) -> int:
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def bare(kubectl_path: str, tmp_path: Path) -> Iterator[Cluster]:
    """Return a cluster that neither has pipelines nor knows of their roles; the manifest is applied to it."""
    proa = ProaCommand(tmp_path / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--without", "pipelines")
    cluster = Cluster(proa, kubectl_path)
    cluster.kubectl("delete", "clusterrole", *(f"system:proa:{role}" for role in ROLES))
    parts = [part for part in yaml.safe_load_all(MANIFEST.read_text()) if part["kind"] != "Deployment"]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(parts))
    yield cluster
    proa("reset", "--yes")


@pytest.fixture
def start(bare: Cluster, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Return what starts a server, which acts as the manifest's account."""
    config = yaml.safe_load(bare.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token_of(bare, "pipelines-operator")}
    kubeconfig = tmp_path / "serve" / "kubeconfig"
    kubeconfig.parent.mkdir()
    kubeconfig.write_text(yaml.safe_dump(config))
    started: list[Server] = []

    def begin() -> Server:
        started.append(Server(kubeconfig, kubeconfig.with_name(f"{len(started)}.log")))
        return started[-1]

    yield begin
    for server in started:
        server.end(signal.SIGKILL)


def token_of(cluster: Cluster, account: str) -> str:
    return cluster.kubectl("create", "token", account, "-n", "kubeflow").stdout.strip()


def pods_of(cluster: Cluster, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", "-n", "kubeflow", "-l", f"pipeline/runid={run_id}")[
        "items"
    ]
    return found


def test_a_run_outlives_its_server_and_one_of_two_servers_works(
    bare: Cluster, start: Callable[[], Server]
) -> None:
    bare.kubectl("create", "serviceaccount", "ann", "-n", "kubeflow")
    bare.kubectl(
        "create",
        "rolebinding",
        "ann",
        "-n",
        "kubeflow",
        "--clusterrole=edit",
        "--serviceaccount=kubeflow:ann",
    )
    token = token_of(bare, "ann")
    first = start()
    until(first.works, "the first one works")
    assert first.ask("runs")[0] == 401
    wanted = {"display_name": "served", "pipeline_spec": SPEC}
    status, run = until(
        lambda: (answer := first.ask("runs", token, wanted))[0] != 403 and answer, "her role is aggregated"
    )
    assert status == 200, run
    path = f"runs/{run['run_id']}"
    until(
        lambda: any(pod["status"]["phase"] == "Running" for pod in pods_of(bare, run["run_id"])),
        "a step runs",
    )
    assert first.end(signal.SIGKILL) == -signal.SIGKILL

    second, third = start(), start()

    working, waiting = until(
        lambda: (
            [one for one in (second, third) if one.works()]
            and sorted((second, third), key=Server.works, reverse=True)
        ),
        "one of two works",
    )
    assert waiting.ask(path, token)[0] == 503
    ended = until(
        lambda: (found := working.ask(path, token)[1])["state"] in ("SUCCEEDED", "FAILED") and found,
        "it ends",
    )
    assert ended["state"] == "SUCCEEDED", ended
    names = Counter(
        pod["metadata"]["annotations"]["pipelines.proa.dev/task-path"] for pod in pods_of(bare, run["run_id"])
    )
    assert names == {"one": 1, "two": 1}
    assert not waiting.works()

    assert working.end(signal.SIGTERM) == 0
    until(waiting.works, "the other one takes over")
    assert waiting.ask(path, token)[1]["state"] == "SUCCEEDED"


def test_proa_up_with_pipelines_keeps_others_waiting(cluster: Cluster) -> None:
    lease = cluster.get("lease", "proa-pipelines-operator", "-n", "kube-system")["spec"]
    assert (
        lease["holderIdentity"]
        == cluster.get("lease", "kube-scheduler", "-n", "kube-system")["spec"]["holderIdentity"]
    )
