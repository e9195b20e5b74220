"""What does `proa build` cost, beside buildah (chroot isolation) on the same Dockerfile, anew and from the cache?

Runs are one after another, medians; processor time of all processes, and the wall clock. Steps are small: what is
measured is what the builder itself takes.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = 10
BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.access(path, os.X_OK)), "")


def run(quick: bool) -> list[dict[str, Any]]:
    """Return one row a figure; fewer rounds when quick, none without busybox and buildah."""
    buildah = shutil.which("buildah")
    if not BUSYBOX or buildah is None:
        return []
    rounds = 1 if quick else 5
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        context = make_context(Path(folder) / "context")
        ours = [sys.executable, "-m", "proa", "build", "--home", f"{folder}/home", "-q", "-t", "bench"]
        theirs = [
            buildah,
            "--root",
            f"{folder}/root",
            "--runroot",
            f"{folder}/run",
            "--storage-driver",
            "overlay",
        ]
        theirs += ["bud", "--layers", "--isolation", "chroot", "-q", "-t", "bench"]
        rows: list[dict[str, Any]] = []
        for name, options in ((f"build of {STEPS} steps", ["--no-cache"]), ("build from the cache", [])):
            mine = measure([*ours, *options, str(context)], rounds)
            other = measure([*theirs, *options, str(context)], rounds)
            for what, unit, at in (("processor time", "CPU s", 0), ("wall clock", "s", 1)):
                rows.append({
                    "name": f"{name}, {what}", "value": round(mine[at], 3), "unit": unit, "baseline": "buildah",
                    "baseline_value": round(other[at], 3), "ratio": round(other[at] / mine[at], 2),
                })  # fmt: skip
        return rows


def make_context(folder: Path) -> Path:
    """Make a context whose Dockerfile needs no base image."""
    folder.mkdir()
    shutil.copy(BUSYBOX, folder / "busybox")
    steps = "".join(f"RUN echo {number} > /file{number}\n" for number in range(STEPS))
    install = 'RUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
    (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY busybox /bin/busybox\n{install}{steps}")
    return folder


def measure(command: list[str], rounds: int) -> tuple[float, float]:
    """Return the medians of processor seconds and wall-clock seconds."""
    found: list[tuple[float, float]] = []
    for _ in range(rounds):
        before, began = _processor_seconds(), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        found.append((_processor_seconds() - before, time.perf_counter() - began))
    return statistics.median(one[0] for one in found), statistics.median(one[1] for one in found)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
