"""How do start, memory, reads and writes grow from 1,000 to 100,000 objects?

ConfigMaps of 1 KB in namespaces of 100, written by the store itself. Each size is opened by an interpreter of its
own, with an API server on top, and without controllers, whose caches come besides. The baseline of start and memory
is the budget (2 s, 150 MB), that of a list of everything at once what the listed objects are in bytes, and that of
every other figure the same at 1,000 objects: a ratio of 1 is a cost that does not grow.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

SIZES = (1_000, 10_000, 100_000)
START_SECONDS, MEMORY_MB = 2.0, 150.0
PER_NAMESPACE = 100
DATA = "v" * 700


def run(quick: bool) -> list[dict[str, object]]:
    """Return rows for each size."""
    rows: list[dict[str, object]] = []
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for size in SIZES[: 2 if quick else 3]:
            directory = Path(folder) / str(size)
            asyncio.run(fill(directory, size))
            found = measure(directory)
            first = first or found
            rows += [
                row(f"store of {size:,}: start", found["start"], "s", "the budget", START_SECONDS),
                row(f"store of {size:,}: memory", found["memory"], "MB", "the budget", MEMORY_MB),
                row(
                    f"store of {size:,}: a list of all adds", found["list"], "MB", "its bytes", found["bytes"]
                ),
            ]
            rows += [
                row(f"store of {size:,}: {name}", found[name], "us", "1,000 objects", first[name])
                for name in ("get", "list of 100", "durable write")
            ]
    return rows


def row(name: str, value: float, unit: str, baseline: str, baseline_value: float) -> dict[str, object]:
    """Return a row whose ratio is how many times better than the baseline the value is."""
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": baseline,
        "baseline_value": round(baseline_value, 3),
        "ratio": round(baseline_value / value, 2),
    }


def key_of(number: int) -> str:
    """Return the store's key of the object."""
    namespace, name = divmod(number, PER_NAMESPACE)
    return f"/registry/core/configmaps/ns-{namespace:04d}/config-{name:03d}"


async def fill(directory: Path, size: int) -> None:
    """Write the objects."""
    from proa.store.log import LogStore

    def encoder(number: int) -> Callable[[int], bytes]:
        namespace, name = divmod(number, PER_NAMESPACE)

        def encode(revision: int) -> bytes:
            metadata = {
                "name": f"config-{name:03d}",
                "namespace": f"ns-{namespace:04d}",
                "uid": f"00000000-0000-0000-0000-{number:012d}",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "resourceVersion": str(revision),
            }
            obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"k": DATA}}
            return json.dumps(obj, separators=(",", ":")).encode()

        return encode

    store = LogStore(directory)
    for start in range(0, size, 1_000):
        await asyncio.gather(
            *(store.put(key_of(n), encoder(n)) for n in range(start, min(start + 1_000, size)))
        )
    await store.close()


def measure(directory: Path) -> dict[str, float]:
    """Return what an interpreter of its own finds, the median of three in start."""
    command = [sys.executable, __file__, str(directory)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
    found: dict[str, float] = sorted(runs, key=lambda one: one["start"])[1]
    return found


async def look(directory: Path) -> dict[str, float]:
    """Open the store under an API server and use it; return the figures."""
    from proa.apiserver.app import ApiServer
    from proa.apiserver.resources import DEFINITIONS
    from proa.store.log import LogStore

    began = time.perf_counter()
    store = LogStore(directory)
    server = ApiServer(store, DEFINITIONS)
    found = {"start": time.perf_counter() - began, "memory": own_memory()}
    size = store.count("")

    def read(number: int) -> object:
        return store.get(key_of(number * 7919 % size))

    def page(number: int) -> object:
        namespace = number * 7919 % size // PER_NAMESPACE
        return store.range(f"/registry/core/configmaps/ns-{namespace:04d}/")

    found["get"] = microseconds(read, 2_000)
    found["list of 100"] = microseconds(page, 100)
    before = own_memory()
    listed = store.range("/registry/core/configmaps/")
    found["list"] = max(own_memory() - before, 0.01)
    found["bytes"] = sum(len(entry.value) for entry in listed.entries) / 1e6
    began = time.perf_counter()
    for number in range(300):
        await store.put(key_of(number * 7919 % size), lambda _: b"{}")
    found["durable write"] = (time.perf_counter() - began) / 300 * 1e6
    await store.close()
    assert server.store is store
    return found


def microseconds(act: Callable[[int], object], count: int) -> float:
    """Return what one call takes."""
    began = time.perf_counter()
    for number in range(count):
        act(number)
    return (time.perf_counter() - began) / count * 1e6


def own_memory() -> float:
    """Return this process's own share of memory (PSS) in MB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError("unreachable")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(look(Path(sys.argv[1])))))
