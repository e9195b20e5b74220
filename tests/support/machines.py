"""Two machines on one: network namespaces with a wire between them, each with a `proa` home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.clusters import Cluster, ProaCommand, run


@dataclass(frozen=True)
class Machine(ProaCommand):
    """The `proa` command on one of the machines. `namespace` is the name of its network."""

    namespace: str = ""
    address: str = ""

    @property
    def prefix(self) -> list[str]:
        """Return what runs a program on this machine."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def command(self, *arguments: str) -> list[str]:
        """See ProaCommand."""
        return [*self.prefix, *super().command(*arguments)]

    def run(self, *command: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run any program on this machine."""
        return run([*self.prefix, *command], check=check, timeout=timeout)

    def cut(self) -> None:
        """Pull the wire out."""
        run(["ip", "-n", self.namespace, "link", "set", "wire", "down"])

    def mend(self) -> None:
        """Put it back."""
        run(["ip", "-n", self.namespace, "link", "set", "wire", "up"])


@dataclass(frozen=True)
class MachineCluster(Cluster):
    """A cluster on one of the machines, and kubectl there."""

    machine: Machine = field(kw_only=True)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """See Cluster."""
        return [*self.machine.prefix, *super().kubectl_command(*arguments)]


@contextmanager
def two_machines(folder: Path, python: str) -> Iterator[tuple[Machine, Machine]]:
    """Yield two machines that reach each other at 192.0.2.1 and .2, and nothing else; skip where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("not on this machine: other machines are network namespaces here, which need root")
    if not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip(
            "not on this machine: `ip` and `nsenter` make the machines: apt install iproute2 util-linux"
        )
    names = [f"proa-test-{os.getpid()}-{letter}" for letter in "ab"]
    try:
        _wire(*names)
        _try_vxlan(names[0])
        made = [
            Machine(folder / name[-1], python, namespace=name, address=f"192.0.2.{number}")
            for number, name in enumerate(names, 1)
        ]
        yield made[0], made[1]
    finally:
        for name in names:
            run(["ip", "netns", "del", name], check=False)


def _wire(first: str, second: str) -> None:
    for name in (first, second):
        if refused := run(["ip", "netns", "add", name], check=False).stderr:
            pytest.skip(f"not on this machine: no network namespaces can be made: {refused.strip()}")
    run(["ip", "-n", first, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", second])
    for number, name in enumerate((first, second), 1):
        run(["ip", "-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "wire"])
        for link in ("wire", "lo"):
            run(["ip", "-n", name, "link", "set", link, "up"])


def _try_vxlan(name: str) -> None:
    probe = ["ip", "-n", name, "link", "add", "probe", "type", "vxlan", "id", "1", "dstport", "8472"]
    if run(probe, check=False).returncode:
        pytest.skip("not on this machine: its kernel makes no VXLAN devices")
    run(["ip", "-n", name, "link", "del", "probe"])
