"""The `proa` command and a running cluster, as tests hold them."""

from __future__ import annotations

import json
import os
import subprocess
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

    def __call__(
        self, *arguments: str, timeout: float = 120, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb and return what it printed."""
        return run(self.command(*arguments), user=self.user, timeout=timeout, check=check, cwd=Path("/"))

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
        self, *arguments: str, stdin: str | None = None, timeout: float = 150, check: bool = True
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
    timeout: float = 150,
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
