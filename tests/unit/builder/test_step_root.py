"""What a step of a build is shown besides its stage's files leads to nothing else of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proa.builder import step_root

SCRIPT = """
import os, stat, sys
from proa.builder import step_root
from proa.node.noded import linux
folder = sys.argv[1]
linux.unshare(linux.CLONE_NEWNS)
linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
linux.mount("tmpfs", folder, "tmpfs")
os.makedirs(folder + "/root"); os.makedirs(folder + "/cache")
linux.mount(folder + "/root", folder + "/root", "", linux.MS_BIND)
shown = [step_root.Shown(folder + "/cache", "/cache")]
root = os.open(folder + "/root", os.O_RDONLY | os.O_DIRECTORY)
step_root.prepare(root, shown)
os.close(root)
step_root.enter(folder + "/root", shown)
os.close(os.open("/dev/null", os.O_RDWR))
open("/cache/written", "w").close()
os.mknod("/cache/disk", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
try:
    os.open("/cache/disk", os.O_RDONLY)
except PermissionError:
    print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this machine: only root makes devices")
def test_a_device_that_a_step_makes_in_a_cache_is_not_opened(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(Path(step_root.__file__).parents[2])}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
