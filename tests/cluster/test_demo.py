"""The demo does what the README says, for root and for an ordinary user, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.clusters import ProaCommand
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def expect_the_whole_story(summary: dict[str, Any]) -> None:
    """Check what the demo claims: real training, every digit answered, no request lost in a rollout."""
    assert summary["training"]["v2"]["accuracy"] > summary["training"]["v1"]["accuracy"] > 0.95
    for way in ("cluster_ip", "node_port"):
        assert summary[way]["requests"] == 360
        assert summary[way]["failed"] == 0
        assert summary[way]["accuracy"] == pytest.approx(summary["training"]["v1"]["accuracy"])
    for step in ("delete", "scale", "rollout", "rollback"):
        assert summary[step]["requests"] > 0
        assert summary[step]["failed"] == 0, summary[step]
    assert set(summary["rollout"]["versions"]) == {"1", "2"}
    assert summary["events"] > 10


@pytest.mark.xdist_group("demo")
def test_the_demo_tells_the_whole_story_and_leaves_nothing(tmp_path: Path) -> None:
    proa = ProaCommand(tmp_path / "home", sys.executable)
    told = proa("demo", "--rm", "-o", "json", timeout=300)
    expect_the_whole_story(json.loads(told.stdout))
    assert not proa.home.exists()
    assert not find_processes(str(proa.home))


@pytest.mark.xdist_group("rootless")
def test_the_demo_runs_for_an_ordinary_user(rootless: ProaCommand) -> None:
    told = rootless("demo", "--rm", "-o", "json", timeout=300)
    expect_the_whole_story(json.loads(told.stdout))
    assert not rootless.home.exists()
    assert not find_processes(str(rootless.home))


@pytest.mark.xdist_group("demo")
def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path) -> None:
    proa = ProaCommand(tmp_path / "home", sys.executable)
    demo = subprocess.Popen(proa.command("demo"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "Job train-v1" in line:
            break
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=90)
    assert demo.returncode == 130
    assert not find_processes(str(proa.home))
    proa("reset", "--yes")


@pytest.mark.xdist_group("demo")
def test_a_demo_interrupted_while_the_cluster_starts_leaves_no_server(tmp_path: Path) -> None:
    proa = ProaCommand(tmp_path / "home", sys.executable)
    demo = subprocess.Popen(proa.command("demo"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 90
    while not (proa.home / "server.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(demo.pid, signal.SIGINT)
    demo.communicate(timeout=90)
    assert demo.returncode == 130
    assert not find_processes(str(proa.home))
