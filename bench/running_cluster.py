"""Start a whole cluster in a folder of its own, tell what it uses, and end it, whatever the benchmark does."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import proa

SOURCES = Path(proa.__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PROA_HOME")} | {
    "PYTHONPATH": str(SOURCES.parent)
}
LIMIT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """One cluster that runs; `start_seconds` is the wall time of the whole `proa up --detach`."""

    home: Path
    start_seconds: float
    server_pid: int
    host: str
    port: int

    @property
    def key_pair(self) -> tuple[str, str]:
        """Return the server's own certificate and key, for a bare server that does the same TLS."""
        pki = self.home / "pki"
        return str(pki / "apiserver.crt"), str(pki / "apiserver.key")

    def client_context(self) -> ssl.SSLContext:
        """Return the administrator's TLS context, from the kubeconfig."""
        import yaml

        config = yaml.safe_load((self.home / "kubeconfig").read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]))
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            context.load_cert_chain(pem.name)
        return context

    def pids(self) -> dict[str, int]:
        """Return the cluster's own processes by name: the server, and each that noded's pid file names."""
        found = {"server": self.server_pid}
        for file in self.home.glob("nodes/*/noded.pid"):
            for number, line in enumerate(file.read_text().splitlines()):
                found[f"noded-{number}" if number else "noded"] = int(line.split()[0])
        return found


@contextmanager
def running_cluster(home: Path | None = None, *options: str) -> Iterator[RunningCluster]:
    """Yield a cluster in `home` (default: a folder made and removed here), and stop it afterwards.

    `options` are further ones of `proa up`.
    """
    own = None if home else Path(tempfile.mkdtemp(prefix="proa-bench-"))
    folder = home or own
    assert folder is not None
    try:
        begun = time.perf_counter()
        proa_command("up", "--detach", "--port", "0", *options, home=folder)
        taken = time.perf_counter() - begun
        try:
            server = json.loads((folder / "server.pid").read_text())
            url = urlsplit(server["server"])
            yield RunningCluster(folder, taken, server["pid"], url.hostname or "127.0.0.1", url.port or 443)
        finally:
            proa_command("down", home=folder)
    finally:
        if own:
            shutil.rmtree(own, ignore_errors=True)


def proa_command(*words: str, home: Path) -> None:
    """Run `proa`; raise CalledProcessError when it fails. What it says of failure goes to our own stderr."""
    subprocess.run(
        [sys.executable, "-m", "proa", *words, "--home", str(home)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        timeout=LIMIT_SECONDS,
        check=True,
    )


def compile_sources() -> None:
    """Write the byte code that an installed package has from the start."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(SOURCES)], env=ENVIRONMENT, check=True)


def cpu_seconds(pid: int) -> float:
    """Return the processor time, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_nanoseconds(pid: int) -> int:
    """Return the processor time that a process's living threads have used: finer than ticks, for one at rest."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def memory_mebibytes(pid: int) -> float:
    """Return a process's proportional share of memory (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/smaps_rollup says no Pss")


def make_row(
    name: str, value: float, unit: str, baseline: str, baseline_value: float, *, more_is_better: bool
) -> dict:
    """Return one figure beside what it is compared with; a ratio above 1 is better than that."""
    better, worse = (value, baseline_value) if more_is_better else (baseline_value, value)
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "baseline": baseline,
        "baseline_value": round(baseline_value, 4),
        "ratio": round(better / worse, 2) if worse else 0.0,
    }


def recorded(name: str, value: float, unit: str, kubernetes: float, *, more_is_better: bool) -> dict:
    """Compare with what a real Kubernetes 1.36.2 did on a 2-core machine like this one: measured elsewhere."""
    return make_row(
        name, value, unit, "Kubernetes 1.36.2, recorded elsewhere", kubernetes, more_is_better=more_is_better
    )
