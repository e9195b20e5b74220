"""Paths are opened below a root whatever else happens on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from proa.node.noded import linux

if TYPE_CHECKING:
    from pathlib import Path

RENAMER = """
import os, sys
os.chdir(sys.argv[1])
os.mkdir("one")
print("renaming", flush=True)
while os.getppid() == int(sys.argv[2]):
    os.rename("one", "two")
    os.rename("two", "one")
"""


def test_renames_elsewhere_do_not_keep_a_path_with_dots_from_being_opened(tmp_path: Path) -> None:
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    arguments = [sys.executable, "-c", RENAMER, str(tmp_path / "elsewhere"), str(os.getpid())]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as renamer:
        try:
            assert renamer.stdout is not None
            assert renamer.stdout.readline() == b"renaming\n"
            for _ in range(20_000):
                os.close(linux.open_in_root(root, "/a/b/../../a/b/../../a/b"))
        finally:
            renamer.kill()
            os.close(root)
