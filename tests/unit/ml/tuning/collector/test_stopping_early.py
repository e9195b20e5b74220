"""The program and the shell that injection puts around the training, as two processes with a folder between them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proa.ml.tuning.collector.rules import Rules
from proa.ml.tuning.injection.wrapping import wrap

Start = Callable[..., Any]
TRAIN = """
import os, sys, time, signal
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"saved\\n"), sys.exit({code})))
for i in range({steps}):
    print(f"accuracy={{{value}}}", flush=True)
    time.sleep(0.02)
"""


def train(folder: Path, script: str, stop: bool = True) -> subprocess.Popen[bytes]:
    words = wrap(
        ["python3", "-c", script], str(folder / "metrics.log"), str(folder / ".t-1.stop") if stop else ""
    )
    return subprocess.Popen(words, start_new_session=True)


@pytest.fixture(params=["sh", "bash"])
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to(f"/bin/{request.param}")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return str(request.param)


def test_a_training_that_meets_all_rules_is_stopped_and_ends_well(
    shell: str, start: Start, tmp_path: Path
) -> None:
    program = start(rule="less;3;0.5;accuracy", stop=str(tmp_path / ".t-1.stop"))
    training = train(tmp_path, TRAIN.format(code=3, steps=2000, value="0.1"))
    assert training.wait(60) == 0
    report = program.end()
    assert report.outcome == "early-stopped"
    assert "the best accuracy so far, 0.1, is less than 0.5 after 3 values" in report.message
    assert b"saved" in program.printed(), "it was asked, not killed"
    assert 3 <= len(report.points) < 2000


def test_a_training_that_meets_no_rule_ends_by_itself_with_its_own_code(
    shell: str, start: Start, tmp_path: Path
) -> None:
    program = start(rule="less;3;0.5;accuracy", stop=str(tmp_path / ".t-1.stop"))
    training = train(tmp_path, TRAIN.format(code=3, steps=5, value="0.9") + "sys.exit(4)")
    assert training.wait(60) == 4
    assert program.end().outcome == "succeeded"


@pytest.mark.parametrize("stop", [True, False], ids=["stoppable", "not stoppable"])
def test_a_signal_to_the_pod_reaches_the_training(shell: str, tmp_path: Path, stop: bool) -> None:
    training = train(tmp_path, TRAIN.format(code=3, steps=2000, value="0.9"), stop)
    log = tmp_path / "metrics.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and b"accuracy" in log.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    training.send_signal(signal.SIGTERM)
    assert training.wait(60) == 3
    assert b"saved" in log.read_bytes()


def test_children_that_are_left_behind_keep_nobody_waiting(shell: str, tmp_path: Path) -> None:
    training = train(
        tmp_path, "import os, time\nif os.fork() == 0: time.sleep(60)\nelse: print('accuracy=1')"
    )
    try:
        assert training.wait(60) == 0
    finally:
        os.killpg(training.pid, signal.SIGKILL)


def test_arguments_stay_what_they_are(shell: str, tmp_path: Path) -> None:
    words = ["python3", "-c", "import sys; print(sys.argv[1:])", "a b", "$HOME", "*", "", "'\"", "&& false"]
    for stop in ("", str(tmp_path / "stop")):
        log = tmp_path / "log"
        subprocess.run(wrap(words, str(log), stop), check=True)
        assert log.read_text().strip() == str(words[3:])


def test_a_program_that_is_not_there_is_told_in_the_log(shell: str, tmp_path: Path) -> None:
    for stop in ("", str(tmp_path / "stop")):
        log = tmp_path / "log"
        assert subprocess.run(wrap(["no-such-program"], str(log), stop)).returncode == 127
        assert "no-such-program" in log.read_text()


def test_rules_count_from_their_start_step_and_the_best_of_the_objective_counts() -> None:
    rules = Rules([("a", 0.5, "less", 3), ("b", 2.0, "greater", 0)], "a", is_maximized=True)
    for value in (0.1, 0.2):
        rules.hear("a", value)
    rules.hear("b", 3.0)
    assert not rules.reason
    rules.hear("a", 0.1)
    assert (
        rules.reason
        == "b, 3, is greater than 2 after 1 values; the best a so far, 0.2, is less than 0.5 after 3 values"
    )
    good = Rules([("a", 0.5, "less", 2)], "a", is_maximized=True)
    for value in (0.9, 0.1, 0.1):
        good.hear("a", value)
    assert not good.reason, "it was better once"
    equal = Rules([("b", 1.0, "equal", 0)], "a", is_maximized=False)
    equal.hear("b", 1.0)
    assert equal.reason
