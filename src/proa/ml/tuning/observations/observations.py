"""Remember every point of every metric that a trial told, until the trial is deleted; SQLite or PostgreSQL.

What a trial is, is its uid: another one of the same name has none of its points. A call's change is durable when it
returns, all of it or nothing. Errors are ml/database's: `Invalid` for what is too much, `Unavailable`.

Source: pkg/db/v1beta1 of kubeflow/katib.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from proa.ml.database.engine import Engine, Transaction
from proa.ml.database.errors import Invalid
from proa.ml.database.opening import open_engine
from proa.ml.tuning.observations.encoding import decode, encode, microseconds
from proa.ml.tuning.observations.schema import CHUNK, SCHEMA
from proa.ml.tuning.records import MetricPoint
from proa.objects.quick_dataclass import dataclass

MAX_POINTS = 100_000
"""Of one trial."""
MAX_METRICS = 1000
"""Of one trial in one call."""
MAX_NAME = 253
MAX_VALUE = 1024
"""Characters of a metric's name and of a value."""
_EARLIEST, _LATEST = -62_135_596_800.0, 253_402_300_799.0
"""The years 1 to 9999, as seconds since the epoch."""
_MANY = 500
"""How many trials one statement asks for."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The trial that tells something."""

    uid: str
    namespace: str
    name: str
    experiment_uid: str


class Observations:
    """An open database."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine, and close it in the end."""
        self._engine = engine

    async def record(self, trial: Observed, points: Sequence[MetricPoint]) -> None:
        """Let these be all points of the trial: the same twice is the same as once. Raises Invalid."""
        _check(points)

        def write(transaction: Transaction) -> None:
            _forget(transaction, [trial.uid])
            _know(transaction, trial)
            _append(transaction, trial, points)

        await self._engine.write(write)

    async def add(self, trial: Observed, points: Sequence[MetricPoint]) -> None:
        """Remember these beside what the trial told before. Raises Invalid."""
        _check(points)

        def write(transaction: Transaction) -> None:
            _know(transaction, trial)
            _append(transaction, trial, points)

        await self._engine.write(write)

    async def read(
        self, trial_uid: str, metric: str = "", *, since: float | None = None, until: float | None = None
    ) -> list[MetricPoint]:
        """Return a trial's points by time, of all metrics or one, from `since` to `until` with both (seconds)."""
        first = None if since is None else microseconds(since)
        last = None if until is None else microseconds(until)
        sql = "SELECT metric, body FROM tuning_points WHERE trial_uid = ?"
        parameters: list[str | int] = [trial_uid]
        for condition, value in (("metric = ?", metric or None), ("until >= ?", first), ("since <= ?", last)):
            if value is not None:
                sql += f" AND {condition}"
                parameters.append(value)

        def read(transaction: Transaction) -> list[MetricPoint]:
            rows = transaction.rows(f"{sql} ORDER BY metric, position", parameters)
            points = sorted((point for name, body in rows for point in decode(name, body)), key=_time)
            start = 0 if since is None else bisect_left(points, since, key=_time)
            end = len(points) if until is None else bisect_right(points, until, key=_time)
            return points[start:end]

        return await self._engine.read(read)

    async def read_many(
        self, trial_uids: Sequence[str], metric: str, *, first: int | None = None
    ) -> Mapping[str, list[MetricPoint]]:
        """Return one metric's points by time, by trial: all, or those that the trial told `first`.

        A trial that told nothing of it is left out.
        """
        chunks = MAX_POINTS if first is None else -(-first // CHUNK)

        def read(transaction: Transaction) -> dict[str, list[MetricPoint]]:
            found: dict[str, list[MetricPoint]] = {}
            for uids in _batches(trial_uids):
                sql = (
                    "SELECT trial_uid, body FROM tuning_points WHERE metric = ? AND position < ? AND "
                    f"trial_uid IN ({_places(uids)}) ORDER BY trial_uid, position"
                )
                for uid, body in transaction.rows(sql, [metric, chunks, *uids]):
                    found.setdefault(uid, []).extend(decode(metric, body))
            return {uid: sorted(points[:first], key=_time) for uid, points in found.items()}

        return await self._engine.read(read)

    async def delete(self, trial_uids: Sequence[str]) -> None:
        """Forget trials and their points."""
        await self._engine.write(lambda transaction: _forget(transaction, trial_uids))

    async def delete_experiment(self, uid: str) -> None:
        """Forget all trials of an experiment."""

        def write(transaction: Transaction) -> None:
            rows = transaction.rows("SELECT uid FROM tuning_trials WHERE experiment_uid = ?", [uid])
            _forget(transaction, [row[0] for row in rows])

        await self._engine.write(write)

    async def experiment_uids(self) -> set[str]:
        """Return which experiments something is known of: of one that is not there any more it may be deleted."""
        sql = "SELECT DISTINCT experiment_uid FROM tuning_trials"
        return {row[0] for row in await self._engine.read(lambda transaction: transaction.rows(sql))}

    async def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        await self._engine.read(lambda transaction: transaction.rows("SELECT 1"))

    async def close(self) -> None:
        """Finish what waits; later calls raise Unavailable."""
        await self._engine.close()


async def open_observations(url: str | Path) -> Observations:
    """Open what is at a path (SQLite, made if need be) or `postgresql://` URL; raise CannotOpen, Unavailable."""
    return Observations(await open_engine(url, SCHEMA))


def _check(points: Sequence[MetricPoint]) -> None:
    if len(points) > MAX_POINTS:
        raise Invalid(f"{len(points)} points of metrics: a trial may tell {MAX_POINTS}; report fewer of them")
    names = {point.metric for point in points}
    if len(names) > MAX_METRICS:
        raise Invalid(f"{len(names)} metrics: a trial may tell {MAX_METRICS} at once")
    for name in names:
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise Invalid(
                f"a metric's name has 1 to {MAX_NAME} characters that can be printed, not {name[:80]!r}"
            )
    for point in points:
        if not _EARLIEST <= point.time <= _LATEST:  # which NaN is not either
            raise Invalid(f"metric {point.metric}: {point.time} is no time in seconds since 1970")
        if len(point.value) > MAX_VALUE:
            raise Invalid(
                f"metric {point.metric}: a value has up to {MAX_VALUE} characters, not {len(point.value)}"
            )


def _know(transaction: Transaction, trial: Observed) -> None:
    sql = (
        "INSERT INTO tuning_trials (uid, namespace, name, experiment_uid, points) VALUES (?, ?, ?, ?, 0) "
        "ON CONFLICT (uid) DO NOTHING"
    )
    transaction.run(sql, [trial.uid, trial.namespace, trial.name, trial.experiment_uid])


def _append(transaction: Transaction, trial: Observed, points: Sequence[MetricPoint]) -> None:
    """Write points after those that are there; the trial's row is held meanwhile."""
    sql = f"SELECT points FROM tuning_trials WHERE uid = ?{transaction.for_update}"
    known = transaction.rows(sql, [trial.uid])[0][0]
    if known + len(points) > MAX_POINTS:
        raise Invalid(
            f"trial {trial.namespace}/{trial.name} has told {known} points of metrics and tells {len(points)} more: "
            f"it may tell {MAX_POINTS}; report fewer of them"
        )
    by_metric: dict[str, list[MetricPoint]] = {}
    for point in points:
        by_metric.setdefault(point.metric, []).append(point)
    for metric, told in by_metric.items():
        _append_metric(transaction, trial.uid, metric, told)
    sql = "UPDATE tuning_trials SET points = ? WHERE uid = ?"
    transaction.run(sql, [known + len(points), trial.uid])


def _append_metric(transaction: Transaction, uid: str, metric: str, points: list[MetricPoint]) -> None:
    sql = (
        "SELECT position, count, body FROM tuning_points WHERE trial_uid = ? AND metric = ? "
        "ORDER BY position DESC LIMIT 1"
    )
    position = 0
    for last, count, body in transaction.rows(sql, [uid, metric]):
        position = last + 1
        if count < CHUNK:
            position, points = last, [*decode(metric, body), *points]
    sql = (
        "INSERT INTO tuning_points (trial_uid, metric, position, count, since, until, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (trial_uid, metric, position) DO UPDATE SET "
        "count = excluded.count, since = excluded.since, until = excluded.until, body = excluded.body"
    )
    starts = range(0, len(points), CHUNK)
    transaction.run_many(
        sql,
        [
            (uid, metric, position + number, *encode(points[start : start + CHUNK]))
            for number, start in enumerate(starts)
        ],
    )


def _forget(transaction: Transaction, trial_uids: Iterable[str]) -> None:
    for uids in _batches(trial_uids):
        transaction.run(f"DELETE FROM tuning_points WHERE trial_uid IN ({_places(uids)})", uids)
        transaction.run(f"DELETE FROM tuning_trials WHERE uid IN ({_places(uids)})", uids)


def _batches(uids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(uids)
    while batch := list(islice(left, _MANY)):
        yield batch


def _places(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _time(point: MetricPoint) -> float:
    return point.time
