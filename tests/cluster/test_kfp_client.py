"""The Kubeflow Pipelines SDK, unmodified, newest and old: every method of its client, its command, on every address."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.clusters import Cluster, ProaCommand
from support.sdk_venvs import KFP, OLD_KFP, make_sdk_venv

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("kfp")]
PROGRAM = Path(__file__).with_name("programs") / "kfp_client.py"
VISITOR = "ml-pipeline-visitor"
SPECIAL = ("KUBECONFIG", "PROA_HOME", "KFP_HOST", "KFP_TOKEN")


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the newest SDK."""
    return make_sdk_venv("kfp", KFP)


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
    python: Path, folder: Path, arguments: list[str], environment: dict[str, str], *, check: bool = True
) -> str:
    """Run a program with the SDK in a home of its own; return what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in SPECIAL}
    done = subprocess.run(
        [python, *arguments],
        cwd=folder,
        env={**kept, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


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
    kfp_cluster: Cluster, tmp_path: Path
) -> None:
    old = make_sdk_venv("kfp-old", OLD_KFP)
    host = kfp_cluster.proa.status()["pipelines"]
    environment = {"KFP_HOST": host, "KFP_TOKEN": make_token(kfp_cluster, VISITOR)}
    answers = run_program(old, tmp_path / "u", "all", environment)
    assert (answers["missed"], answers["kfp"]) == ([], "2.7.0")


def test_who_shows_no_token_on_the_hosts_loopback_does_nothing_there(
    kfp_cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    host = kfp_cluster.proa.status()["pipelines"]
    program = f"import kfp; kfp.Client(host={host!r}).list_runs()"
    kept = {name: value for name, value in os.environ.items() if name not in SPECIAL}
    done = subprocess.run(
        [python, "-c", program],
        env={**kept, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode
    assert "(401)" in done.stderr
    assert "a token is needed here" in done.stderr


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
        "import sys, time\n"
        f"sys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        "import kfp_client\n"
        "client = kfp_client.Client(namespace='team')\n"
        "time.sleep(5)\n"  # for so long it is known that she may not
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
    kfp_cluster.kubectl(
        "wait", "pod/client", "-n", "kubeflow", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s",
        timeout=130,
    )  # fmt: skip
    log = kfp_cluster.kubectl("logs", "client", "-n", "kubeflow").stdout
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
    listed = (
        "import kfp, kfp_server_api, time\n"
        "client = kfp.Client()\n"
        "time.sleep(5)\n"
        "try: print('listed', client.list_runs().total_size)\n"
        "except kfp_server_api.ApiException as error: print('refused', error.status)\n"
    )
    environment = {"KUBECONFIG": str(kfp_cluster.kubeconfig)}
    kfp_cluster.kubectl("delete", "rolebinding", VISITOR, "-n", "kubeflow")
    try:
        assert "refused 403" in use_sdk(python, tmp_path, ["-c", listed], environment)
        runs = json.loads(kfp_cluster.kubectl("get", "--raw", "/apis/v2beta1/runs").stdout)
        assert runs["total_size"] > 0
    finally:
        role = ("--role=" + VISITOR, f"--serviceaccount=kubeflow:{VISITOR}")
        kfp_cluster.kubectl("create", "rolebinding", VISITOR, "-n", "kubeflow", *role)
