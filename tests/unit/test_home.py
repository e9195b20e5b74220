"""A home is one cluster's folder, private, and locked by its server."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from proa.home import Home, find_home, write_private


def test_the_option_comes_before_the_environment_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROA_HOME", "/from/environment")
    assert find_home("/from/option").path == Path("/from/option")
    assert find_home(None).path == Path("/from/environment")
    monkeypatch.delenv("PROA_HOME")
    assert find_home(None).path == Path("~/.proa").expanduser()


def test_a_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    write_private(home.kubeconfig, "secret")
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.kubeconfig.stat().st_mode) == 0o600
    assert home.kubeconfig.read_text() == "secret"


def test_only_one_server_holds_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert not home.is_running()
    lock = home.lock()
    assert home.is_running()
    with pytest.raises(BlockingIOError):
        home.lock()
    os.close(lock)
    assert not home.is_running()


def test_what_a_dead_server_wrote_is_not_believed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_private(home.pid_file, json.dumps({"pid": 1, "ready": True}))
    os.close(home.lock())
    assert home.find_server() is None
    lock = home.lock()
    assert home.find_server() == {"pid": 1, "ready": True}
    os.close(lock)
