"""`proa down` waits for a server that is between its lock and its word: one that starts, or has ended."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proa.cli import Failure
from proa.cli.down import find_settled_server
from proa.home import Home, write_private


def test_a_server_that_has_just_ended_is_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    lock = home.lock()
    with ThreadPoolExecutor() as pool:
        found = pool.submit(find_settled_server, home)
        os.close(lock)
        assert found.result() is None


def test_a_server_that_starts_is_found(tmp_path: Path) -> None:
    home = Home(tmp_path)
    lock = home.lock()
    with ThreadPoolExecutor() as pool:
        found = pool.submit(find_settled_server, home)
        write_private(home.pid_file, json.dumps({"pid": 7}))
        assert found.result() == {"pid": 7}
    os.close(lock)


def test_one_that_says_nothing_is_not_waited_for_forever(tmp_path: Path) -> None:
    home = Home(tmp_path)
    lock = home.lock()
    with pytest.raises(Failure, match=r"a server is starting in .*; try again in a moment"):
        find_settled_server(home, timeout_seconds=0.02)
    os.close(lock)
