"""Folders that are their owner's alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.node.directories import make_private


@pytest.mark.parametrize("inner", ["a", "a/b/c"], ids=["one", "with those above it"])
def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path, inner: str) -> None:
    make_private(tmp_path / inner)

    assert (tmp_path / inner).stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o750)
    (tmp_path / "a" / "file").touch()

    make_private(tmp_path / "a")

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "a" / "file").exists()
