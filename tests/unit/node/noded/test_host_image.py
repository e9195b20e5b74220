"""The host image has a name, a digest, and no secrets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from proa.node.noded.images import find_image, host_path, visible_paths
from proa.node.noded.rootfs import HostImage

DIGEST = (image := find_image("proa.local/python")) and image.repo_digest.partition("@")[2]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("proa.local/python", True),
        ("proa.local/python:latest", True),
        ("proa.local/python:3.11", True),
        (f"proa.local/python@{DIGEST}", True),
        ("proa.local/python@sha256:" + "0" * 64, False),
        ("proa.local/pythonic", False),
        ("localhost:5000/proa.local/python", False),
        ("python", False),
    ],
)
def test_names(name: str, known: bool) -> None:
    assert (find_image(name) is not None) is known


def test_python_comes_first_and_is_shown() -> None:
    assert host_path().endswith("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    assert any(sys.prefix.startswith(path) for path in visible_paths())


def test_what_is_on_the_path_by_chance_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), os.path.expanduser("~"), str(tmp_path / "installed")])
    shown = visible_paths()
    assert str(tmp_path / "installed") in shown
    assert not {str(tmp_path), os.path.expanduser("~")} & set(shown)


def test_the_deeper_place_wins() -> None:
    made = HostImage(
        "overlay", userxattr=False, visible=["/root/.pyenv", "/usr"], masked=["/root/.pyenv/secret", "/work"]
    )
    places = [(path, kind) for path, kind, _ in made.places()]
    root, shown, hidden = (places.index(p) for p in (
        ("/root", "scratch"), ("/root/.pyenv", "show"), ("/root/.pyenv/secret", "mask")
    ))  # fmt: skip
    assert root < shown < hidden
    assert ("/work", "mask") in places
    assert ("/etc/shadow", "mask") in places
    assert "/usr" not in [path for path, _ in places]


def test_the_path_leads_where_containers_see_the_interpreter_whatever_links_lead_there_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, link = tmp_path / "environment", tmp_path / "link"
    environment.mkdir()
    link.symlink_to(environment)
    monkeypatch.setattr(sys, "prefix", str(link))
    assert host_path().split(":")[0] == str(environment / "bin")
    assert str(environment) in visible_paths()
