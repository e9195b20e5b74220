"""`proa nodes` where no cluster runs: which nodes there are, and switches that the next start goes by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proa.__main__ import main
from proa.cluster_settings import Settings, keep_settings
from proa.home import Home
from proa.local_nodes import power


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose cluster has two nodes."""
    made = Home(tmp_path / "home")
    made.make()
    keep_settings(made, Settings("id", 6443, nodes=2), None)
    return made


def test_switches_are_turned_and_told(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    def states() -> dict[str, str]:
        assert main(["nodes", "--home", str(home.path), "-o", "json"]) == 0
        return {node["name"]: node["switch"] for node in json.loads(capsys.readouterr().out)["nodes"]}

    assert states() == {"proa-1": "on", "proa-2": "on"}
    assert main(["nodes", "--home", str(home.path), "stop", "proa-2"]) == 0
    assert "proa-2   off      no" in capsys.readouterr().out
    assert power.is_off(home.node("proa-2"))
    assert states() == {"proa-1": "on", "proa-2": "off"}
    assert main(["nodes", "--home", str(home.path), "start", "proa-1", "proa-2"]) == 0
    capsys.readouterr()
    assert states() == {"proa-1": "on", "proa-2": "on"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["stop"], 2, "stop which? There are proa-1, proa-2"),
        (["start", "proa-3"], 2, "there is no node proa-3"),
        (["list", "proa-1"], 2, "list takes no names"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], code: int, words: str, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        given = main(["nodes", "--home", str(home.path), *arguments])
    except SystemExit as ended:
        given = int(ended.code or 0)
    assert given == code
    assert words in capsys.readouterr().err


def test_without_a_cluster_it_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nodes", "--home", str(tmp_path)]) == 1
    assert "`proa up --nodes 3` makes one" in capsys.readouterr().err
