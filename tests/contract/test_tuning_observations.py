"""What the database of observations promises, on each of its engines."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.ml.database.errors import CannotOpen, Invalid, Unavailable
from proa.ml.tuning.observations import observations as module
from proa.ml.tuning.observations.observations import Observations, Observed, open_observations
from proa.ml.tuning.records import MetricPoint
from support.postgres import Postgres, run_postgres

With = Callable[[Callable[[Observations], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server for this file."""
    with run_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path) -> str:
    """The address of an empty database."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres").new_url()
    return str(tmp_path / "tuning" / "tuning.db")


@pytest.fixture
def with_observations(url: str) -> With:
    """Return what gives a test body an open database."""

    def run(body: Callable[[Observations], Awaitable[None]]) -> None:
        async def go() -> None:
            observations = await open_observations(url)
            try:
                await body(observations)
            finally:
                await observations.close()

        asyncio.run(go())

    return run


def make_trial(number: int = 0, *, experiment: str = "e-0", name: str = "") -> Observed:
    return Observed(f"uid-{number}", "team", name or f"train-{number}", experiment)


def make_points(*values: str, metric: str = "loss", start: float = 1000.0) -> list[MetricPoint]:
    return [MetricPoint(start + number, metric, value) for number, value in enumerate(values)]


def values(points: list[MetricPoint]) -> list[str]:
    return [point.value for point in points]


def test_what_a_trial_told_is_read_as_it_was_written_and_by_time(with_observations):
    told = [
        MetricPoint(1763838649.123456, "loss", "0.10"),
        MetricPoint(1763838648.5, "accuracy", "ä\0\ud800"),
        MetricPoint(1763838648.25, "loss", "nan"),
        MetricPoint(-62135596800.0, "loss", "unavailable"),
    ]

    async def body(observations: Observations) -> None:
        await observations.record(make_trial(), told)
        assert await observations.read("uid-0") == sorted(told, key=lambda point: point.time)
        assert values(await observations.read("uid-0", "loss")) == ["unavailable", "nan", "0.10"]
        assert await observations.read("uid-1") == []

    with_observations(body)


def test_recording_a_trial_again_replaces_what_was_known(with_observations):
    async def body(observations: Observations) -> None:
        for _ in range(2):
            await observations.record(make_trial(), make_points("1", "2", "3"))
            assert values(await observations.read("uid-0")) == ["1", "2", "3"]
        await observations.record(make_trial(), make_points("4"))
        assert values(await observations.read("uid-0")) == ["4"]

    with_observations(body)


def test_what_is_pushed_comes_to_what_is_there(with_observations):
    async def body(observations: Observations) -> None:
        points = [MetricPoint(float(n), ("loss", "accuracy")[n % 2], str(n)) for n in range(1203)]
        await asyncio.gather(*(observations.add(make_trial(), [point]) for point in points))
        assert values(await observations.read("uid-0")) == [str(number) for number in range(1203)]
        found = await observations.read_many(["uid-0"], "loss", first=501)
        assert values(found["uid-0"]) == [str(number) for number in range(0, 1002, 2)]

    with_observations(body)


def test_points_of_one_time_stay_in_the_order_in_which_they_were_told(with_observations):
    told = [MetricPoint(5.0, "loss", str(number)) for number in range(1000)]

    async def body(observations: Observations) -> None:
        await observations.record(make_trial(), told)
        assert await observations.read("uid-0") == told

    with_observations(body)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, ["0", "1", "2", "3"]),
        (1001.0, None, ["1", "2", "3"]),
        (None, 1001.0, ["0", "1"]),
        (1000.5, 1002.5, ["1", "2"]),
        (0, 0, []),
    ],
)
def test_a_range_of_time_has_both_its_ends(with_observations, since, until, expected):
    async def body(observations: Observations) -> None:
        await observations.record(make_trial(), make_points("0", "1", "2", "3"))
        assert values(await observations.read("uid-0", since=since, until=until)) == expected

    with_observations(body)


def test_one_metric_of_many_trials_is_one_question(with_observations):
    async def body(observations: Observations) -> None:
        told = [make_points(str(n), "x") + make_points("y", metric="accuracy") for n in range(1100)]
        await asyncio.gather(*(observations.record(make_trial(n), told[n]) for n in range(1100)))
        uids = [f"uid-{number}" for number in range(1101)]
        found = await observations.read_many(uids, "loss", first=1)
        assert {uid: values(points) for uid, points in found.items()} == {
            f"uid-{number}": [str(number)] for number in range(1100)
        }
        assert await observations.read_many([], "loss") == {}

    with_observations(body)


def test_another_trial_of_the_same_name_has_points_of_its_own(with_observations):
    async def body(observations: Observations) -> None:
        await observations.record(make_trial(0, name="train"), make_points("1"))
        await observations.record(make_trial(1, name="train"), make_points("2"))
        assert values(await observations.read("uid-0")) == ["1"]
        assert values(await observations.read("uid-1")) == ["2"]

    with_observations(body)


def test_what_is_deleted_is_gone_and_the_rest_stays(with_observations):
    async def body(observations: Observations) -> None:
        for number in range(6):
            await observations.record(make_trial(number, experiment=f"e-{number % 3}"), make_points("1"))
        await observations.delete(["uid-0", "uid-none"])
        await observations.delete_experiment("e-1")
        assert await observations.experiment_uids() == {"e-0", "e-2"}
        assert set(await observations.read_many([f"uid-{number}" for number in range(6)], "loss")) == {
            "uid-2",
            "uid-3",
            "uid-5",
        }
        await observations.delete_experiment("e-1")  # twice is once

    with_observations(body)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (MetricPoint(0.0, "", "1"), "a metric's name has 1 to 253 characters"),
        (MetricPoint(0.0, "a" * 254, "1"), "a metric's name has 1 to 253 characters"),
        (MetricPoint(0.0, "a\0", "1"), "that can be printed, not 'a\\x00'"),
        (MetricPoint(0.0, "loss", "1" * 1025), "metric loss: a value has up to 1024 characters, not 1025"),
        (MetricPoint(math.nan, "loss", "1"), "metric loss: nan is no time in seconds"),
        (MetricPoint(1e30, "loss", "1"), "is no time in seconds"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(with_observations, point, message):
    async def body(observations: Observations) -> None:
        await observations.record(make_trial(), make_points("1"))
        for call in (observations.record, observations.add):
            with pytest.raises(Invalid) as caught:
                await call(make_trial(), [*make_points("2"), point])
            assert message in str(caught.value)
        assert values(await observations.read("uid-0")) == ["1"]

    with_observations(body)


def test_a_trial_that_tells_without_end_is_refused(with_observations, monkeypatch):
    monkeypatch.setattr(module, "MAX_POINTS", 10)

    async def body(observations: Observations) -> None:
        await observations.record(make_trial(), make_points(*"123456"))
        with pytest.raises(Invalid, match="trial team/train-0 has told 6 points of metrics and tells 5 more"):
            await observations.add(make_trial(), make_points(*"12345"))
        await observations.add(make_trial(), make_points(*"1234"))
        with pytest.raises(Invalid, match="11 points of metrics: a trial may tell 10"):
            await observations.record(make_trial(), make_points(*"12345678901"))
        assert len(await observations.read("uid-0")) == 10

    with_observations(body)


def test_points_are_there_after_it_is_opened_again(url):
    async def go() -> None:
        observations = await open_observations(url)
        await observations.record(make_trial(), make_points("1"))
        await observations.close()
        with pytest.raises(Unavailable):
            await observations.check()
        observations = await open_observations(url)
        await observations.check()
        assert values(await observations.read("uid-0")) == ["1"]
        await observations.close()

    asyncio.run(go())


def test_a_file_that_is_no_database_is_not_opened(tmp_path):
    path = tmp_path / "tuning.db"
    path.write_bytes(b"x" * 10_000)
    with pytest.raises(CannotOpen):
        asyncio.run(open_observations(path))


times = st.integers(-(10**15), 4 * 10**15).map(lambda microseconds: microseconds / 1e6)
told = st.lists(
    st.builds(MetricPoint, times, st.sampled_from(["loss", "m|a"]), st.text(max_size=9)), max_size=9
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(told, max_size=4), chunk=st.integers(1, 5))
def test_pushes_in_any_portions_are_all_there(tmp_path, monkeypatch, batches, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)

    async def go() -> None:
        observations = await open_observations(tmp_path / "tuning.db")
        try:
            await observations.record(make_trial(), [])
            for batch in batches:
                await observations.add(make_trial(), batch)
            for metric in ("loss", "m|a"):
                everything = [point for batch in batches for point in batch if point.metric == metric]
                expected = sorted(everything, key=lambda point: point.time)
                assert await observations.read("uid-0", metric) == expected
                first = await observations.read_many(["uid-0"], metric, first=3)
                expected = sorted(everything[:3], key=lambda point: point.time)
                assert first.get("uid-0", []) == expected
        finally:
            await observations.close()

    asyncio.run(go())
