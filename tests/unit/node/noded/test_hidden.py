"""What containers do not see of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proa.node.noded import hidden
from proa.node.noded.hidden import find_hidden


def test_a_folder_that_is_no_part_of_a_system_is_shown_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("usr", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "swapfile").touch()
    (tmp_path / "bin").symlink_to("usr/bin")
    monkeypatch.setattr(hidden, "_KNOWN", {str(tmp_path): {"usr"}})
    found = find_hidden(reads_all=False)
    assert found[f"{tmp_path}/data"] == ("scratch", 0o755)
    assert found[f"{tmp_path}/swapfile"] == ("mask", 0)
    assert not {f"{tmp_path}/usr", f"{tmp_path}/bin"} & found.keys()


@pytest.mark.parametrize("reads_all", [True, False])
def test_what_others_may_not_read_is_hidden_where_root_inside_is_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads_all: bool
) -> None:
    (tmp_path / "service").mkdir()
    for path, mode in (("password", 0o640), ("motd", 0o644), ("service/key", 0o600)):
        (tmp_path / path).touch()
        (tmp_path / path).chmod(mode)
    (tmp_path / "closed").mkdir(mode=0o700)
    monkeypatch.setattr(hidden, "_READ_BY_ALL_OR_HIDDEN", (str(tmp_path),))
    found = {path for path in find_hidden(reads_all=reads_all) if path.startswith(f"{tmp_path}/")}
    secrets = {f"{tmp_path}/{name}" for name in ("password", "service/key", "closed")}
    assert found == (secrets if reads_all else set())


def test_of_this_machine_the_system_stays() -> None:
    found = find_hidden(reads_all=True)
    assert (
        not {"/", "/usr", "/etc", "/bin", "/lib", "/opt", "/var", "/var/lib", "/etc/passwd", "/etc/hosts"}
        & found.keys()
    )
    assert {"/home", "/root", "/mnt", "/srv", "/etc/shadow"} <= found.keys()
    assert os.path.isdir("/etc")
