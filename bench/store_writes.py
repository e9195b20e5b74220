"""How many durable writes a second does the store take, and what does each cost in CPU?

4,200-byte values over 1,000 keys, with 1, 16 and 64 writes in flight. The baseline is sqlite (WAL,
synchronous=FULL) on the same disk in the same run, behind the same kind of committer thread, which commits all
that is queued as one transaction; it keeps no revisions, history or watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from proa.store.log import LogStore

VALUE = b'{"kind":"Pod"}'.ljust(4200, b".")
KEYS = 1000
IN_FLIGHT = (1, 16, 64)
MAX_BATCH = 10_000


def run(quick: bool) -> list[dict[str, object]]:
    """Return rows of writes/s and CPU us a write for each number of writes in flight."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for in_flight in IN_FLIGHT:
            count = (300 if in_flight == 1 else 8_000) // (3 if quick else 1)
            ours = measure(count, lambda n, c=in_flight: write_to_store(Path(folder) / "store", n, c))
            theirs = measure(
                count, lambda n, c=in_flight: write_to_sqlite(Path(folder) / "sqlite.db", n, c, MAX_BATCH)
            )
            rows += compare(in_flight, ours, "sqlite, group commit", theirs)
            if in_flight == 16:
                single = measure(count // 4, lambda n: write_to_sqlite(Path(folder) / "single.db", n, 16, 1))
                rows += compare(in_flight, ours, "sqlite, a transaction a write", single)
    return rows


def compare(
    in_flight: int, ours: tuple[float, float], baseline: str, theirs: tuple[float, float]
) -> list[dict[str, object]]:
    """Return a row for the writes/s and one for the CPU us a write."""
    kinds = (("durable writes", "1/s", ours[0] / theirs[0]), ("CPU a write", "us", theirs[1] / ours[1]))
    return [
        {
            "name": f"store: {what}, {in_flight} in flight",
            "value": round(ours[index], 1),
            "unit": unit,
            "baseline": baseline,
            "baseline_value": round(theirs[index], 1),
            "ratio": round(ratio, 2),
        }
        for index, (what, unit, ratio) in enumerate(kinds)
    ]


def measure(count: int, write: Callable[[int], tuple[float, float]]) -> tuple[float, float]:
    """Return (writes/s, CPU us a write), the median of three."""
    runs = sorted(write(count) for _ in range(3))
    seconds, cpu_seconds = runs[1]
    return count / seconds, cpu_seconds / count * 1e6


def write_to_store(directory: Path, count: int, in_flight: int) -> tuple[float, float]:
    """Return (seconds, CPU seconds) for `count` writes."""

    async def main() -> tuple[float, float]:
        store = LogStore(directory)
        await write(store, 500, 64)
        try:
            return await write(store, count, in_flight)
        finally:
            await store.close()

    async def write(store: LogStore, count: int, in_flight: int) -> tuple[float, float]:
        numbers = iter(range(count))

        async def writer() -> None:
            for number in numbers:
                await store.put(f"/pods/default/{number % KEYS}", lambda _: VALUE)

        start, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(writer() for _ in range(in_flight)))
        return time.perf_counter() - start, time.process_time() - cpu

    return asyncio.run(main())


def write_to_sqlite(path: Path, count: int, in_flight: int, max_batch: int) -> tuple[float, float]:
    """Return (seconds, CPU seconds) for `count` writes through one thread that commits what is queued."""
    queue: SimpleQueue[tuple[str, int, asyncio.Future[None]] | None] = SimpleQueue()

    def answer(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            future.set_result(None)

    def commit(loop: asyncio.AbstractEventLoop) -> None:
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, revision INTEGER, value BLOB)"
        )
        while (item := queue.get()) is not None:
            batch = [item]
            with contextlib.suppress(Empty):
                while len(batch) < max_batch and (item := queue.get_nowait()) is not None:
                    batch.append(item)
            database.execute("BEGIN")
            rows = [(key, revision, VALUE) for key, revision, _ in batch]
            database.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
            loop.call_soon_threadsafe(answer, [future for _, _, future in batch])
        database.close()

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=commit, args=(loop,))
        thread.start()
        numbers = iter(range(count))

        async def writer() -> None:
            for number in numbers:
                future: asyncio.Future[None] = loop.create_future()
                queue.put((f"/pods/default/{number % KEYS}", number, future))
                await future

        start, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(writer() for _ in range(in_flight)))
        result = time.perf_counter() - start, time.process_time() - cpu
        queue.put(None)
        await asyncio.to_thread(thread.join)
        return result

    return asyncio.run(main())


if __name__ == "__main__":
    for row in run("--quick" in sys.argv):
        print(
            f"{row['name']:<42} {row['value']:>10} {row['unit']:<4} "
            f"{row['baseline']} {row['baseline_value']} -> {row['ratio']}x"
        )
