"""A database in a file loses nothing that was acknowledged, and says what is wrong with a file that it cannot use."""

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proa.ml.database.copying import copied
from proa.ml.database.engine import Transaction
from proa.ml.database.errors import CannotOpen, Unavailable
from proa.ml.database.schema import Schema, migrate
from proa.ml.database.sqlite import SqliteConnection
from proa.ml.pipelines.database import paging
from proa.ml.pipelines.database.database import Database, open_database
from proa.ml.pipelines.database.paging import RUNS, ListOptions
from proa.ml.pipelines.records import Run, RunState, Task, TaskKind, TaskState

WRITER = """
import asyncio, sys
from proa.ml.database.copying import copied
from proa.ml.pipelines.database.database import open_database
from proa.ml.pipelines.records import *

async def write(database, number):
    id = f"{number:032d}"
    run = Run(id, "n", "team", "n", RunState.PENDING, float(number), pipeline_spec={"n": number % 3})
    await database.runs.insert(run)
    task = Task(id, "t", make_task_id(id, "t"), "t", "t", TaskKind.CONTAINER, TaskState.RUNNING, "")
    artifact = Artifact(f"a{id}", "a", "minio://x")
    await database.record([task], [artifact], run=Run(id, "n", "team", "n", RunState.RUNNING, float(number)))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()

async def main():
    database = await open_database(sys.argv[1])
    number = int(sys.argv[2])
    while True:
        await asyncio.gather(*[write(database, number + n) for n in range(7)])
        number += 7

asyncio.run(main())
"""
"""Writes runs, each with a step, and prints the number of each once both are acknowledged."""


def test_a_kill_loses_nothing_acknowledged_and_leaves_no_half_step(tmp_path: Path) -> None:
    path, told = tmp_path / "p.db", []
    rng = random.Random(7)
    for _ in range(5):
        start = (max(told, default=-1) + 1000) // 1000 * 1000
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(start)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        wanted = rng.randrange(1, 60)
        lines = [process.stdout.readline() for _ in range(wanted)]
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate()
        lines += rest.splitlines(keepends=True)
        told += [int(line) for line in lines if line.endswith(b"\n")]
        assert len(told) >= wanted, errors.decode()
    asyncio.run(expect_whole(path, told))


async def expect_whole(path: Path, told: list[int]) -> None:
    """Expect every run that was told of with its step, and of others nothing half."""
    database = await open_database(path)
    try:
        runs, token = {}, ""
        while not runs or token:
            page = await database.runs.page(ListOptions(page_size=200, page_token=token), with_spec=True)
            runs |= {int(run.id): run for run in page.items}
            token = page.next_token
        assert set(told) <= set(runs)
        for number, run in runs.items():
            assert run.pipeline_spec == {"n": number % 3}
            tasks = await database.tasks.of(run.id)
            artifacts = await database.artifacts.page()
            assert (run.state is RunState.RUNNING) == (len(tasks) == 1)
            assert number not in told or tasks
        assert artifacts.total == sum(run.state is RunState.RUNNING for run in runs.values())
    finally:
        await database.close()


def with_database(path: Path, body) -> None:
    async def go() -> None:
        database = await open_database(path)
        try:
            await body(database)
        finally:
            await database.close()

    asyncio.run(go())


def make_run(number: int = 0) -> Run:
    return Run(
        f"{number:032d}", "n", "team", "n", RunState.PENDING, float(number), pipeline_spec={"x": "y" * 2000}
    )


def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "p.db"

    async def body(database: Database) -> None:
        await database.runs.insert(make_run())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == {"p.db": 0o600, "p.db-wal": 0o600, "p.db-shm": 0o600}

    umask = os.umask(0)
    try:
        with_database(path, body)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["p.db"]


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "p.db"

    async def fill(database: Database) -> None:
        await asyncio.gather(*[database.runs.insert(make_run(number)) for number in range(200)])

    with_database(path, fill)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = b"\xa5" * 8192
    path.write_bytes(data)
    with pytest.raises(CannotOpen, match=r"p.db.*(damaged|malformed)"):
        asyncio.run(open_database(path))
    assert path.read_bytes() == data
    (tmp_path / "text.db").write_text("no database " * 500)
    with pytest.raises(CannotOpen, match="not a database"):
        asyncio.run(open_database(tmp_path / "text.db"))
    with pytest.raises(CannotOpen, match=r"text.db"):
        asyncio.run(open_database(tmp_path / "text.db" / "p.db"))


def test_a_full_disk_refuses_writes_and_reads_go_on_until_there_is_room(tmp_path: Path) -> None:
    async def body(database: Database) -> None:
        await database.runs.insert(make_run(0))
        write = database._engine.write
        pages = await write(lambda transaction: transaction.rows("PRAGMA page_count")[0][0])
        await write(lambda transaction: transaction.rows(f"PRAGMA max_page_count = {pages}"))
        writes = [database.runs.insert(make_run(number)) for number in range(1, 50)]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert isinstance(answers[-1], Unavailable)
        assert "the disk is full; nothing was written" in str(answers[-1])
        written = answers.count(None)
        assert (await database.runs.page()).total == 1 + written
        await write(lambda transaction: transaction.rows("PRAGMA max_page_count = 1000000"))
        await database.runs.insert(make_run(99))
        assert (await database.runs.get(make_run(99).id)).created_at == 99

    with_database(tmp_path / "p.db", body)


def test_another_process_that_holds_the_file_for_long_is_told_of(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "p.db"
    monkeypatch.setattr("proa.ml.database.sqlite.BUSY_SECONDS", 0.05)

    async def body(database: Database) -> None:
        await database.runs.insert(make_run(0))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another process holds it"):
            await database.runs.insert(make_run(1))
        assert (await database.runs.page()).total == 1
        other.execute("ROLLBACK")
        other.close()
        await database.runs.insert(make_run(1))

    with_database(path, body)


def test_a_file_in_use_is_copied_as_of_one_moment(tmp_path: Path) -> None:
    path, copies = tmp_path / "p.db", tmp_path / "copy.db"

    async def body(database: Database) -> None:
        await asyncio.gather(*[database.runs.insert(make_run(number)) for number in range(50)])
        with copied(path) as file:
            copies.write_bytes(file.read())
        await database.runs.insert(make_run(99))

    async def look(database: Database) -> None:
        assert (await database.runs.page()).total == 50
        assert await database.runs.get(make_run(7).id, with_spec=True) == make_run(7)

    with_database(path, body)
    with_database(copies, look)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy.db", "p.db"]
    (tmp_path / "text.db").write_text("no database " * 500)
    with (
        pytest.raises(CannotOpen, match=r"text.db cannot be copied: file is not a database"),
        copied(tmp_path / "text.db"),
    ):
        pass


LIMITED = """
import asyncio, resource, sys
from proa.ml.pipelines.database.database import open_database
from proa.ml.database.errors import Unavailable
from proa.ml.pipelines.records import *

def make_run(number):
    spec = {"x": "y" * 9000, "n": number}
    return Run(str(number), "n", "team", "n", RunState.PENDING, float(number), pipeline_spec=spec)

async def main():
    database = await open_database(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    written = 0
    try:
        while True:
            await database.runs.insert(make_run(written))
            written += 1
    except Unavailable as error:
        assert "nothing was written" in str(error), error
    assert (await database.runs.page()).total == written > 3
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await database.runs.insert(make_run(written))
    assert (await database.runs.page()).total == written + 1
    await database.close()

asyncio.run(main())
"""
"""Writes until the kernel refuses, and goes on once it no longer does."""


def test_a_write_that_the_kernel_refuses_fails_alone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path / "p.db")], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


def test_after_a_sync_that_failed_nothing_is_written_until_the_next_start(tmp_path: Path) -> None:
    class Failing(sqlite3.OperationalError):
        sqlite_errorname = "SQLITE_IOERR_FSYNC"

    connection = SqliteConnection(tmp_path / "p.db")
    connection.begin(is_write=True)
    refused = connection._explain(Failing("disk I/O error"))
    assert isinstance(refused, Unavailable)
    connection.rollback()
    with pytest.raises(Unavailable, match="nothing is written until the next start"):
        connection.begin(is_write=True)
    connection.close()


def test_pages_are_read_from_an_index_and_never_sorted(tmp_path: Path) -> None:
    plans: dict[str, str] = {}

    def explain(transaction: Transaction, name: str, sql: str, parameters) -> None:
        plans[name] = " / ".join(row[3] for row in transaction.rows(f"EXPLAIN QUERY PLAN {sql}", parameters))

    async def body(database: Database) -> None:
        await asyncio.gather(*[database.runs.insert(make_run(number)) for number in range(30)])
        first = (await database.runs.page(ListOptions(page_size=5))).next_token
        cases = {
            "all": (ListOptions(), "", []),
            "newest of a namespace": (
                ListOptions(sort_by="created_at desc"),
                " WHERE namespace = ?",
                ["team"],
            ),
            "further of a namespace": (ListOptions(page_token=first), " WHERE namespace = ?", ["team"]),
            "of an experiment": (ListOptions(), " WHERE experiment_id = ?", ["e"]),
            "by name": (ListOptions(sort_by="display_name"), "", []),
        }

        def explain_all(transaction: Transaction) -> None:
            for name, (options, where, parameters) in cases.items():
                explain(
                    transaction, name, *paging._select(RUNS, paging._plan(RUNS, options), where, parameters)
                )

        await database._engine.read(explain_all)

    with_database(tmp_path / "p.db", body)
    for name, plan in plans.items():
        assert "INDEX" in plan, (name, plan)
        assert "TEMP B-TREE" not in plan, (name, plan)
    assert "runs_by_namespace (namespace=? AND (created_at,id)>(?,?))" in plans["further of a namespace"]


def test_tables_are_brought_from_one_version_to_the_next_once(tmp_path: Path) -> None:
    first = ["CREATE TABLE a (id TEXT PRIMARY KEY)", "INSERT INTO a VALUES ('kept')"]
    second = ["ALTER TABLE a ADD COLUMN size INTEGER NOT NULL DEFAULT 7"]

    def migrated(*steps: list[str]) -> list:
        connection = SqliteConnection(tmp_path / "p.db")
        connection.begin(is_write=True)
        migrate(connection, {"TEXT": "TEXT", "INTEGER": "INTEGER"}, Schema("schema_version", steps))
        rows = connection.rows("SELECT * FROM a")
        connection.commit()
        connection.close()
        return rows

    assert migrated(first) == [("kept",)]
    assert migrated(first) == [("kept",)]
    assert migrated(first, second) == [("kept", 7)]
    assert migrated(first, second) == [("kept", 7)]
    with pytest.raises(CannotOpen, match="version 2 and this Proa knows up to 1"):
        migrated(first)


LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
connection.close()
"""


def test_another_process_that_looks_takes_nothing_away(tmp_path: Path) -> None:
    """SQLite's locks are a process's: a descriptor of the file that is closed in it would end those of all others."""
    path = tmp_path / "p.db"

    def look() -> int:
        return int(
            subprocess.run([sys.executable, "-c", LOOK, str(path)], stdout=subprocess.PIPE, check=True).stdout
        )

    async def body(database: Database) -> None:
        await database.runs.insert(make_run(0))
        assert (await database.runs.page()).total == 1
        assert await asyncio.to_thread(look) == 1
        assert (tmp_path / "p.db-wal").exists(), "who looked took itself for the last"
        await database.runs.insert(make_run(1))
        assert await asyncio.to_thread(look) == 2
        another = await open_database(path)
        await another.runs.insert(make_run(2))
        assert await asyncio.to_thread(look) == 3
        await another.close()
        await database.runs.insert(make_run(3))
        assert await asyncio.to_thread(look) == 4
        assert (tmp_path / "p.db-wal").exists()

    with_database(path, body)


def test_a_step_changes_as_many_rows_however_many_its_run_has(tmp_path: Path) -> None:
    counts: list[int] = []

    async def body(database: Database) -> None:
        run = make_run()
        await database.runs.insert(run)
        for number in range(100):
            task = Task(
                run.id, f"t{number}", f"t{number}", "t", "t", TaskKind.CONTAINER, TaskState.RUNNING, ""
            )
            await database.record([task])
            changes = await database._engine.write(
                lambda transaction: transaction.rows("SELECT total_changes()")[0][0]
            )
            counts.append(changes)

    with_database(tmp_path / "p.db", body)
    assert counts[-1] - counts[-2] == counts[1] - counts[0]
