"""A home is one cluster's folder, private, and locked by its server."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proa.home import Home, UntrustedHome, find_home, write_private


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


@pytest.mark.skipif(
    os.geteuid() != 0, reason="not on this machine: only root can give a folder to somebody else"
)
@pytest.mark.parametrize("below", ["", "sub/home"])
def test_a_folder_of_another_user_is_no_home(tmp_path: Path, below: str) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 4711, 4711)
    with pytest.raises(UntrustedHome, match="belongs to uid 4711"):
        find_home(str(folder / below))


@pytest.mark.parametrize(("mode", "trusted"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_what_others_may_write_to_leads_to_no_home(tmp_path: Path, mode: int, trusted: bool) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    if trusted:
        assert find_home(str(folder / "home")).path == folder / "home"
    else:
        with pytest.raises(UntrustedHome, match="other users may write"):
            find_home(str(folder / "home"))


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o700)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises(UntrustedHome):
        find_home(str(tmp_path / "link"))


def test_making_a_home_closes_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Home(tmp_path).make()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_who_asks_whether_a_server_runs_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    home = Home(tmp_path)
    asking = os.open(home.lock_file, os.O_RDWR | os.O_CREAT)
    fcntl.flock(asking, fcntl.LOCK_SH)
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(home.lock)
        os.close(asking)
        lock = starting.result()
    with pytest.raises(BlockingIOError):
        home.lock()
    os.close(lock)
