"""The Kubeflow Pipelines SDK, unmodified, newest and old: every method of its client, its command, on every address."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.clusters import Cluster, ProaCommand
from support.sdk_venvs import KFP, OLD_KFP, make_sdk_venv

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("kfp"),
    pytest.mark.timeout(600, func_only=True),  # making an SDK's environment is none of it
]
PROGRAM = Path(__file__).with_name("programs") / "kfp_client.py"
VISITOR = "ml-pipeline-visitor"
LONGEST = 500
"""Seconds that a program of a user may take on a busy machine."""
SPECIAL = ("KUBECONFIG", "PROA_HOME", "KFP_HOST", "KFP_TOKEN")


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the newest SDK."""
    return make_sdk_venv("kfp", KFP)


@pytest.fixture(scope="module")
def old_python() -> Path:
    """The interpreter that has an old SDK."""
    return make_sdk_venv("kfp-old", OLD_KFP)


@pytest.fixture(scope="module")
def kfp_cluster(
    python: Path, tmp_path_factory: pytest.TempPathFactory, kubectl_path: str
) -> Iterator[Cluster]:
    """A cluster whose host image has the SDK, as a user's has it."""
    proa = ProaCommand(tmp_path_factory.mktemp("kfp") / "home", str(python))
    proa("up", "--detach", "--port", "0", "--pipelines-port", "0")
    try:
        yield Cluster(proa, kubectl_path)
    finally:
        proa("reset", "--yes", check=False)


def use_sdk(
    python: Path, folder: Path, arguments: list[str], environment: dict[str, str], *, refused: bool = False
) -> str:
    """Run a program with the SDK in a home of its own; return what it printed, or why it was `refused`."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in SPECIAL}
    command = [str(python), *arguments]
    with subprocess.Popen(
        command, cwd=folder, env={**kept, "HOME": str(folder), **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            printed, said = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it says where it was
            printed, said = process.communicate(timeout=30)
        finally:
            process.kill()
    if refused is not bool(process.returncode):
        pytest.fail(f"{' '.join(command)}: exit {process.returncode}\n{printed}\n{said}")
    return said if refused else printed


def run_program(python: Path, folder: Path, what: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run the program of users; return its answers."""
    use_sdk(python, folder, [str(PROGRAM), what, "answers.json"], environment)
    found: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return found


def make_token(cluster: Cluster, account: str, namespace: str = "kubeflow") -> str:
    return cluster.kubectl("create", "token", account, "-n", namespace).stdout.strip()


def test_every_method_of_the_newest_client_works_by_the_service_proxy(
    kfp_cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    answers = run_program(python, tmp_path / "u", "all", {"KUBECONFIG": str(kfp_cluster.kubeconfig)})
    assert answers["missed"] == []
    shown = kfp_cluster.get("runs", "-n", "kubeflow")
    assert answers["run_id"] in {run["spec"]["runId"] for run in shown["items"]}


def test_every_method_of_an_old_client_works_on_the_hosts_loopback(
    kfp_cluster: Cluster, old_python: Path, tmp_path: Path
) -> None:
    host = kfp_cluster.proa.status()["pipelines"]
    environment = {"KFP_HOST": host, "KFP_TOKEN": make_token(kfp_cluster, VISITOR)}
    answers = run_program(old_python, tmp_path / "u", "all", environment)
    assert (answers["missed"], answers["kfp"]) == ([], "2.7.0")


def test_who_shows_no_token_on_the_hosts_loopback_does_nothing_there(
    kfp_cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    host = kfp_cluster.proa.status()["pipelines"]
    program = f"import kfp; kfp.Client(host={host!r}).list_runs()"
    said = use_sdk(python, tmp_path, ["-c", program], {}, refused=True)
    assert "(401)" in said
    assert "a token is needed here" in said


def test_a_user_with_a_token_is_who_rbac_says_in_the_namespace_of_the_run(
    kfp_cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    kfp_cluster.kubectl("create", "namespace", "team")
    kfp_cluster.kubectl("create", "serviceaccount", "ann", "-n", "team")
    document = yaml.safe_load(kfp_cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": make_token(kfp_cluster, "ann", "team")}
    kubeconfig = tmp_path / "token.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    environment = {"KUBECONFIG": str(kubeconfig)}
    refused = (
        "import kfp, kfp_server_api\n"
        "try: kfp.Client().list_runs(namespace='{}')\n"
        "except kfp_server_api.ApiException as error: print(error.status, error.body)\n"
    )
    assert "'system:serviceaccount:team:ann' cannot list runs" in use_sdk(
        python, tmp_path / "u", ["-c", refused.format("team")], environment
    )
    binding = ("rolebinding", "ann", "-n", "team", "--clusterrole=edit", "--serviceaccount=team:ann")
    kfp_cluster.kubectl("create", *binding)
    made = (
        "import sys\n"
        f"sys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        "import kfp_client\n"
        "client = kfp_client.Client(namespace='team')\n"
        "make = lambda: kfp_client.status_of(client.create_experiment, 'hers', namespace='team')\n"
        "kfp_client.keep_asking(make, lambda status: status == 200)\n"  # that she may not is known for a moment
        "experiment = client.create_experiment('hers', namespace='team')\n"
        "run = client.create_run_from_pipeline_func(kfp_client.adder, experiment_name='hers', namespace='team')\n"
        "print(kfp_client.finish(client, run.run_id).state)\n"
    )
    assert use_sdk(python, tmp_path / "u", ["-c", made], environment).splitlines()[-1] == "SUCCEEDED"
    pods = kfp_cluster.get("pods", "-n", "team")["items"]
    assert {pod["spec"]["serviceAccountName"] for pod in pods} == {"pipeline-runner"}
    assert "(403)" in use_sdk(
        python, tmp_path / "u", ["-c", refused.format("kubeflow").replace("error.status", "f'({error.status})'")],
        environment,
    )  # fmt: skip


def test_a_pod_finds_the_api_by_its_service_and_runs_pipelines(kfp_cluster: Cluster) -> None:
    program = PROGRAM.read_text()
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "client", "namespace": "kubeflow"},
    }
    kfp_cluster.kubectl("apply", "-f", "-", stdin=json.dumps({**config_map, "data": {"client.py": program}}))
    container = {
        "name": "main",
        "image": "proa.local/python",
        "command": ["python", "/program/client.py", "hello"],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "workingDir": "/tmp",
        "volumeMounts": [{"name": "program", "mountPath": "/program"}],
    }
    volume = {"name": "program", "configMap": {"name": "client"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": "kubeflow"},
        "spec": {"restartPolicy": "Never", "containers": [container], "volumes": [volume]},
    }
    kfp_cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    is_over = "--for=jsonpath={.status.containerStatuses[*].state.terminated.exitCode}"
    wait = ("wait", "pod/client", "-n", "kubeflow", is_over, f"--timeout={LONGEST}s")
    waited = kfp_cluster.kubectl(*wait, timeout=LONGEST + 30, check=False)
    log = kfp_cluster.kubectl("logs", "client", "-n", "kubeflow", check=False).stdout
    status = kfp_cluster.get("pod", "client", "-n", "kubeflow")["status"]
    assert status["phase"] == "Succeeded", f"{waited.stderr}\n{log}\n{status}"
    assert json.loads(log.splitlines()[-1])["run_id"]


def test_the_sdks_own_command_lists_and_runs(kfp_cluster: Cluster, python: Path, tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(kfp_cluster.kubeconfig)}
    compiled = (
        f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); import kfp_client as k; "
        "k.compiler.Compiler().compile(k.adder, 'adder.yaml')"
    )
    use_sdk(python, tmp_path, ["-c", compiled], environment)

    def kfp(*arguments: str) -> str:
        return use_sdk(python, tmp_path, [str(python.parent / "kfp"), *arguments], environment)

    kfp("pipeline", "create", "-p", "by-command", "adder.yaml")
    assert "by-command" in kfp("pipeline", "list")
    kfp("experiment", "create", "by-command")
    made = kfp("--output", "json", "run", "create", "-e", "by-command", "-f", "adder.yaml", "-w", "x=3")
    assert "SUCCEEDED" in made
    assert "by-command" in kfp("experiment", "list")
    assert "SUCCEEDED" in kfp("run", "list")


def test_when_visitors_lose_their_binding_only_who_is_known_may_do_anything(
    kfp_cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    is_refused = (
        "import sys\n"
        f"sys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        "import kfp_client as k\n"
        "client = k.kfp.Client()\n"
        "k.keep_asking(lambda: k.status_of(client.list_runs), lambda status: status == 403)\n"
    )
    environment = {"KUBECONFIG": str(kfp_cluster.kubeconfig)}
    kfp_cluster.kubectl("delete", "rolebinding", VISITOR, "-n", "kubeflow")
    try:
        use_sdk(python, tmp_path, ["-c", is_refused], environment)
        runs = json.loads(kfp_cluster.kubectl("get", "--raw", "/apis/v2beta1/runs").stdout)
        assert runs["total_size"] > 0
    finally:
        role = ("--role=" + VISITOR, f"--serviceaccount=kubeflow:{VISITOR}")
        kfp_cluster.kubectl("create", "rolebinding", VISITOR, "-n", "kubeflow", *role)
