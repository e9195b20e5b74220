"""Every way of layering the host shows the same: its programs, none of its secrets, and mounts that stay inside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proa.node.noded import linux

SOURCE = Path(linux.__file__).parents[3]
SCRIPT = """
import os, sys
from proa.node.noded import linux, rootfs
layering, folder, covered = sys.argv[1], sys.argv[2], sys.argv[3] == "covered"
linux.unshare(linux.CLONE_NEWNS)
linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
linux.mount("tmpfs", folder, "tmpfs")
os.makedirs(folder + "/shm"); os.makedirs(folder + "/volume"); os.makedirs(folder + "/cover")
os.symlink("/etc", folder + "/volume/link"); os.symlink("../../../../../../srv", folder + "/volume/up")
open(folder + "/hosts", "w").write("hosts of the pod")
os.makedirs(folder + "/shown/secret/deep"); open(folder + "/shown/file", "w").close()
visible, masked = [folder + "/shown"], ["/srv", folder + "/shown/secret"]
image = rootfs.HostImage(layering, userxattr=False, visible=visible, masked=masked)
if covered:
    image.make_cover(folder + "/cover/layer")
rootfs.prepare(folder + "/root")
def mount(source, target, read_only=False):
    return {"host_path": source, "container_path": target, "read_only": read_only, "propagation": "private"}
view = rootfs.View(
    mounts=[mount(folder + "/volume", "/usr/share/made/here"),
            mount(folder + "/hosts", "/usr/share/made/here/link/made"),
            mount(folder + "/volume", "/volume", True), mount(folder + "/volume", "/etc/proa-config")],
    files={"/etc/hosts": folder + "/hosts"}, shm=folder + "/shm", cgroups=(), privileged=False, masked=True,
    read_only=False,
)
rootfs.enter(folder + "/root", image, view)
assert open("/etc/hosts").read() == "hosts of the pod"
assert open("/etc/made").read() == "hosts of the pod", "a link in a volume leads within the root"
assert os.path.exists("/usr/bin/env") and os.path.exists("/etc/passwd")
assert os.listdir("/home") == []
assert sorted(os.listdir(folder)) == ["shown"] and sorted(os.listdir(folder + "/shown")) == ["file", "secret"]
assert os.listdir(folder + "/shown/secret") == [], "a mask within what is shown"
assert not os.path.exists("/etc/ssh") or os.listdir("/etc/ssh") == []
assert not os.path.exists("/etc/shadow") or open("/etc/shadow").read() == ""
assert not os.path.exists("/srv") or os.listdir("/srv") == []
assert sorted(os.listdir("/volume")) == ["link", "up"]
assert sorted(os.listdir("/etc/proa-config")) == ["link", "up"]
try:
    open("/volume/new", "w")
except OSError as error:
    assert error.errno == 30
else:
    raise AssertionError("the volume is read-only")
os.mkdir("/new"); open("/tmp/new", "w").close()
print("done")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this machine: only root makes a mount namespace here")
@pytest.mark.parametrize(
    ("layering", "covered"),
    [("overlay", "covered"), ("overlay", "mounted"), ("folders", "mounted"), ("binds", "mounted")],
)
def test_a_root_file_system(tmp_path: Path, layering: str, covered: str) -> None:
    environment = {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", SCRIPT, layering, str(tmp_path), covered]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert not os.path.exists("/etc/made")
    assert not os.path.exists("/etc/proa-config")


IMAGE_SCRIPT = """
import os, sys
from proa.node.noded import linux, rootfs
folder = sys.argv[1]
linux.unshare(linux.CLONE_NEWNS)
linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
linux.mount("tmpfs", folder, "tmpfs")
os.makedirs(folder + "/shm"); os.makedirs(folder + "/layer/data"); os.symlink("/proc", folder + "/layer/link")
image = rootfs.HostImage("overlay", userxattr=False, visible=[], masked=[])
rootfs.prepare(folder + "/root")
view = rootfs.View(
    mounts=[], files={}, shm=folder + "/shm", cgroups=(), privileged=False, masked=True, read_only=True,
    layers=[folder + "/layer"], volumes=["/data", "/proc", "/link", "/sys", "/dev/../proc"],
)
rootfs.enter(folder + "/root", image, view)
print([path for path in ("/", "/data", "/proc/sys", "/sys") if not os.statvfs(path).f_flag & os.ST_RDONLY])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this machine: only root makes a mount namespace here")
def test_volumes_of_an_image_lift_no_mask_of_the_kernel_s_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMAGE_SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['/data']\n", "")
