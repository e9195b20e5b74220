"""What does it cost to pull and unpack a layer of 70 MB, beside skopeo and umoci, and skopeo and tar?

One layer of this machine's own files, in Debian's docker-registry on loopback. CPU seconds are those of everything but
the registry: other work on the machine does not change them much. Time on the clock is a row of its own.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import resource
import shutil
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proa.images.pull import pull
from proa.images.reference import parse
from proa.images.registries import Registries
from proa.images.store import ImageStore

SOURCES = (
    "/usr/lib/python3",
    "/usr/share/perl",
    "/usr/share/doc",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/bin",
    "/usr/lib",
)
CONFIGURATION = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:0", secret: bench}}
"""


def run(quick: bool) -> list[dict[str, Any]]:
    """Return one row a figure; a layer of 20 MB when quick. Nothing without docker-registry and skopeo."""
    if not (shutil.which("docker-registry") and shutil.which("skopeo")):
        return []
    with tempfile.TemporaryDirectory(prefix="proa-bench-") as folder:
        return _measure(Path(folder), (20 if quick else 70) << 20)


def _measure(folder: Path, size: int) -> list[dict[str, Any]]:
    source = ImageStore(folder / "source")
    layer = source.add_layer(io.BytesIO(_make_layer(size)))
    source.commit({"architecture": "amd64", "os": "linux", "config": {}}, [layer], ["bench"])
    files = sum(1 for _ in source.layers.path(layer.diff_id).rglob("*"))
    with _registry(folder / "registry") as host:
        name = f"{host}/bench:latest"
        origin = f"oci:{source.directory}:docker.io/library/bench:latest"
        _run("skopeo", "copy", "-q", "--dest-tls-verify=false", origin, f"docker://{name}")
        store = ImageStore(folder / "images")
        ours, ours_wall = _cost(lambda: pull(store, Registries(), parse(name)))
        copy = (
            "skopeo",
            "copy",
            "-q",
            "--src-tls-verify=false",
            f"docker://{name}",
            f"oci:{folder}/copied:latest",
        )
        copied, copied_wall = _cost(lambda: _run(*copy))
    what = f"pull and unpack {layer.size / 1e6:.0f} MB, {files} files"
    blob = folder / "copied" / "blobs" / "sha256" / layer.digest[7:]
    (folder / "tar").mkdir()
    tar, tar_wall = _cost(lambda: _run("tar", "-xzpf", str(blob), "-C", f"{folder}/tar"))
    rows = [
        _row(f"{what}: CPU", ours, "skopeo copy, tar -x", copied + tar, "CPU s"),
        _row(f"{what}: time", ours_wall, "skopeo copy, tar -x", copied_wall + tar_wall, "s"),
    ]
    if shutil.which("umoci"):
        command = ("umoci", "raw", "unpack", "--image", f"{folder}/copied:latest", f"{folder}/umoci")
        umoci, umoci_wall = _cost(lambda: _run(*command))
        rows.append(_row(f"{what}: CPU", ours, "skopeo copy, umoci", copied + umoci, "CPU s"))
        rows.append(_row(f"{what}: time", ours_wall, "skopeo copy, umoci", copied_wall + umoci_wall, "s"))
    return rows


def _make_layer(size: int) -> bytes:
    """Return a gzipped archive of the machine's own files that has about this size."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in _files():
            archive.add(path, path.lstrip("/"), recursive=False)
            if out.tell() > size:
                break
    return out.getvalue()


def _files() -> Iterator[str]:
    seen: set[str] = set()
    for source in SOURCES:
        for folder, _, names in os.walk(source):
            for name in sorted(names):
                path = os.path.realpath(f"{folder}/{name}")
                if path not in seen and os.access(path, os.R_OK) and stat.S_ISREG(os.stat(path).st_mode):
                    seen.add(path)
                    yield path


@contextmanager
def _registry(folder: Path) -> Iterator[str]:
    folder.mkdir()
    file = folder / "config.yml"
    file.write_text(CONFIGURATION.format(folder=folder).replace("level: error", "level: info"))
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        ["docker-registry", "serve", str(file)],
        stdout=log, stderr=log, env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
    )  # fmt: skip
    try:
        for _ in range(1000):
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", (folder / "log").read_text()):
                break
            time.sleep(0.01)
        assert found, "docker-registry did not start"
        yield found[1]
    finally:
        process.kill()
        process.wait()
        log.close()


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU seconds of this process and its children that `work` took, and the seconds on the clock."""
    before, began = _cpu(), time.perf_counter()
    work()
    return _cpu() - before, time.perf_counter() - began


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _row(name: str, value: float, baseline: str, baseline_value: float, unit: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "baseline": baseline,
        "baseline_value": round(baseline_value, 2),
        "ratio": round(baseline_value / value, 2) if value else 0.0,
    }
