"""What `proa experiments` says of experiments: their state, their best, what went wrong, line by line."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from proa.cli.experiments.describing import describe, make_style
from proa.cli.experiments.facts import read_experiment
from proa.cli.experiments.following import follow, last_line, wait_until_over
from proa.cli.experiments.points import draw as draw_points
from proa.cli.terminal import Terminal
from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, TRIALS
from proa.ml.tuning.records import MetricPoint

BEGAN = "2026-01-01T00:00:0{}Z"
NOW = 1767225610.0  # ten seconds later


def make_experiment(*conditions: tuple[str, str, str], **spec: Any) -> Object:
    objective = {"type": "maximize", "objectiveMetricName": "accuracy", "goal": 0.99}
    return {
        "metadata": {"name": "digits", "namespace": "default", "creationTimestamp": BEGAN.format(0)},
        "spec": {
            "objective": objective,
            "algorithm": {"algorithmName": "tpe"},
            "maxTrialCount": 6,
            "parallelTrialCount": 2,
            **spec,
        },
        "status": {"conditions": make_conditions(*conditions)},
    }


def make_trial(name: str, second: int, state: str, value: str = "", words: str = "", **given: str) -> Object:
    metrics = [{"name": "accuracy", "min": value, "max": value, "latest": value}] if value else []
    times = {"startTime": BEGAN.format(second)}
    if state not in ("Created", "Running"):
        times["completionTime"] = BEGAN.format(second + 1)
    condition = (state, f"Trial{state}", words)
    return {
        "metadata": {
            "name": f"digits-{name}",
            "namespace": "default",
            "creationTimestamp": BEGAN.format(second),
            "labels": {EXPERIMENT_LABEL: "digits"},
        },
        "spec": {"parameterAssignments": [{"name": k, "value": v} for k, v in given.items()]},
        "status": {
            "conditions": make_conditions(condition),
            "observation": {"metrics": metrics},
            **times,
        },
    }


def make_conditions(*conditions: tuple[str, str, str]) -> list[Object]:
    return [
        {"type": type, "status": "True", "reason": reason, "message": message}
        for type, reason, message in conditions
    ]


TRIALS_OF = [
    make_trial("a", 1, "Succeeded", "0.9123456789012", lr="0.1"),
    make_trial("b", 2, "Failed", words="container main: exit code 1: no such file data.csv", lr="0.5"),
    make_trial("c", 3, "EarlyStopped", "0.8", lr="0.7"),
    make_trial("d", 4, "Succeeded", "0.95", lr="0.01"),
    make_trial("e", 5, "Running", lr="0.02"),
    make_trial("f", 6, "Failed", words="container main: exit code 1: no such file data.csv", lr="0.6"),
]


def lines_of(experiment: Object, trials: list[Object], encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return describe(read_experiment(experiment, trials), make_style(Terminal(stream), 3), NOW)


def test_an_experiment_under_way_shows_how_far_it_is_its_best_and_what_went_wrong():
    lines = lines_of(
        make_experiment(("Created", "", ""), ("Running", "ExperimentRunning", "it runs")), TRIALS_OF
    )
    assert lines[:2] == [
        "digits   Running   10s   tpe: maximize accuracy until 0.99",
        "6 of 6 trials: 1 running, 2 succeeded, 1 stopped early, 2 failed; 2 at a time",
    ]
    drawn = [line for line in lines if "│" in line or "┤" in line]
    assert sum(line.count("•") for line in drawn) == 3
    at = lines.index("best so far: accuracy=0.95   (trial digits-d)")
    assert lines[at + 1].split() == ["lr", "0.01"]
    rows = lines.index("TRIAL      STATE       accuracy   lr     TOOK")
    assert [line.split()[0] for line in lines[rows + 1 : rows + 4]] == ["digits-e", "digits-d", "digits-a"]
    assert "0.912346" in lines[rows + 3]
    assert lines[rows + 4] == "and 3 more: proa experiments trials digits"
    assert lines[-2:] == [
        "failed: digits-b, digits-f",
        "  TrialFailed: container main: exit code 1: no such file data.csv",
    ]


def test_where_there_is_no_unicode_ascii_is_drawn():
    lines = lines_of(make_experiment(("Running", "", "")), TRIALS_OF, encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert any("*" in line for line in lines)


def test_a_failed_experiment_says_why_first():
    words = "spec.algorithm.algorithmName: no algorithm tpx; known are random, tpe"
    lines = lines_of(make_experiment(("Created", "", ""), ("Failed", "ExperimentFailed", words)), [])
    assert lines[0].startswith("digits   Failed")
    assert lines[1:] == ["0 of 6 trials; 2 at a time", f"ExperimentFailed: {words}"]


def test_a_trial_that_cannot_begin_says_why():
    stuck = make_trial("a", 1, "Created", words="pod digits-a-x is not scheduled: no node has a GPU")
    stuck["status"]["conditions"].append(
        {"type": "Running", "status": "True", "reason": "Unschedulable", "message": "no node has a GPU"}
    )
    lines = lines_of(make_experiment(("Running", "", "")), [stuck])
    assert lines[-2:] == ["running: digits-a", "  Unschedulable: no node has a GPU"]


def test_what_a_trial_prints_cannot_change_the_terminal():
    evil = make_trial("a", 1, "Failed", words="\033[2Jgone\nnext")
    assert lines_of(make_experiment(("Running", "", "")), [evil])[-1] == "  TrialFailed: gone next"


def test_in_a_pipe_each_trial_is_a_line_as_it_ends_and_the_whole_comes_last():
    client = FakeClient()
    client.add(EXPERIMENTS, make_experiment(("Running", "", "")))
    client.add(TRIALS, TRIALS_OF[0])
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")

    async def main() -> str:
        async with asyncio.timeout(60):
            following = asyncio.create_task(follow(client, "default", "digits", Terminal(stream), 3))
            while b"digits-a" not in stream.buffer.getvalue():  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            client.add(TRIALS, TRIALS_OF[3])
            found = client.all(EXPERIMENTS)[0]
            over = make_conditions(("Succeeded", "ExperimentGoalReached", "good enough"))
            client.add(EXPERIMENTS, {**found, "status": {"conditions": over}})
            ended = await following
            assert last_line(ended).startswith(
                "digits Succeeded: 2 of 6 trials: 2 succeeded; 2 at a time; best digits-d"
            )
            assert (await wait_until_over(client, "default", "digits")).state == "Succeeded"
        return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]

    said = [line.split("s  ", 1)[-1] for line in asyncio.run(main()).splitlines()]
    assert said[:2] == ["digits Running", "digits-a succeeded accuracy=0.9123456789012 lr=0.1  (best so far)"]
    assert "digits-d succeeded accuracy=0.95 lr=0.01  (best so far)" in said
    assert "best: accuracy=0.95   (trial digits-d)" in said


@pytest.mark.parametrize(
    ("values", "row"),
    [
        (["0.5", "0.7", "0.6"], ["accuracy", "3", "0.5", "0.7", "0.6", "2.0s"]),
        (["nan"], ["accuracy", "1", "nan", "0.0s"]),
    ],
    ids=["numbers", "none"],
)
def test_points_of_a_trial_are_summed_up_and_drawn(values: list[str], row: list[str]):
    experiment = read_experiment(make_experiment(), [])
    points = [MetricPoint(float(i), "accuracy", value) for i, value in enumerate(values)]
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    lines = draw_points(points, experiment.objective, Terminal(stream))
    assert lines[2].split() == row
    assert any("*" in line for line in lines) == (len(values) > 1)


def test_what_experiments_and_trials_are_made_of_changes_no_terminal() -> None:
    evil = "\x1bc\x1b[2J\x9b2J\x1b]0;title\x07"
    objective = {"type": "maximize", "objectiveMetricName": "accuracy", "additionalMetricNames": [evil]}
    spec = {"objective": objective, "algorithm": {"algorithmName": f"tpe{evil}"}}
    experiment = make_experiment(("Failed", "No", evil), **spec)
    trial = make_trial("a", 1, "Succeeded", "0.9", evil, **{f"lr{evil}": f"0.1{evil}"})
    found = read_experiment(experiment, [trial])
    shown = "\n".join(describe(found, make_style(Terminal(io.StringIO()), 5), NOW))
    assert "accuracy" in shown
    assert not {"\x1b", "\x9b", "\x07"} & set(shown)


def test_one_that_nobody_has_taken_up_says_who_would():
    lines = lines_of(make_experiment(), [])
    assert lines[0].startswith("digits   Pending   10s")
    assert (
        lines[2]
        == "Nobody has taken it up: `proa up` does, but for `--without tuning`; elsewhere `proa tuning serve`"
    )
    begun = lines_of(make_experiment(("Created", "", "")), [])
    assert not any("Nobody" in line for line in begun)
