"""What servers have made of their models is kept within bounds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proa.ml.serving.storage.conversions import touch, trim

KIB = 1024


def put(folder: Path, name: str, used: float, kib: int = 100) -> None:
    """Make a form that was used then."""
    folder.mkdir(exist_ok=True)
    for ending, data in ((".onnx", bytes(kib * KIB)), (".json", b"{}")):
        path = folder / f"{name}{ending}"
        path.write_bytes(data)
        os.utime(path, (used, used))


def names(*folders: Path) -> list[str]:
    return sorted(
        {f"{path.parent.name}/{path.name.partition('.')[0]}" for one in folders for path in one.iterdir()}
    )


def test_what_was_not_used_for_longest_goes_first_wherever_it_is(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for number, folder in enumerate((*folders, *folders)):
        put(folder, f"form{number}", used=number + 1.0)
    assert trim(folders, 10_000 * KIB) == 0
    touch(folders[0] / "form0.json")
    assert trim(folders, 250 * KIB) == 2
    assert names(*folders) == ["a/form0", "b/form3"]
    assert trim(folders, 0) == 2
    assert names(*folders) == []


def test_a_server_keeps_what_it_has_just_made(tmp_path: Path) -> None:
    put(tmp_path, "new", used=1.0)
    put(tmp_path, "old", used=2.0)
    assert trim([tmp_path], 0, keep="new") == 1
    assert names(tmp_path) == [f"{tmp_path.name}/new"]


def test_small_files_without_number_count_too(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"f{number}").touch()
    trim([tmp_path], 20 * 4 * KIB)
    assert len(list(tmp_path.iterdir())) == 20


def test_what_a_models_code_puts_there_leads_nowhere_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    put(outside, "precious", used=1.0)
    inside.mkdir()
    (inside / "link.json").symlink_to(outside / "precious.json")
    (inside / "folder").symlink_to(outside)
    (inside / "deep/deeper").mkdir(parents=True)
    (inside / "deep/link").symlink_to(outside)
    assert trim([inside], 0) == 2
    assert list(inside.iterdir()) == []
    assert names(outside) == ["outside/precious"]


@pytest.mark.parametrize("name", ["there is none.json", "folder/of/nothing.json"])
def test_what_is_not_there_is_not_touched(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    assert not (tmp_path / name).exists()
