"""Say which images this node provides without a registry: its own Python environment.

`proa.local/python` is this machine, read-only, with the interpreter that runs Proa first on PATH, and a pip before it
that answers at once (host_python/). Its digest names the interpreter and its environment, so that a status shows when
they change.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys

from proa.node.host_python.environment import make_environment, make_path
from proa.node.runtimes.protocol import Image

HOST_IMAGES = ("proa.local/python:latest",)
_REPOSITORY = "proa.local/python"
_HOMES = ("/root", "/home", "/tmp", "/var/tmp")  # noqa: S108
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def host_path() -> str:
    """Return the PATH that finds the same `python` inside as runs Proa outside.

    By where it is: a link to it may be in a folder that containers do not see.
    """
    own = [os.path.join(os.path.realpath(prefix), "bin") for prefix in (sys.prefix, sys.base_prefix)]
    found = [d for d in dict.fromkeys(own) if d not in _SYSTEM_PATH.split(":")]
    return ":".join([*found, _SYSTEM_PATH])


def visible_paths() -> tuple[str, ...]:
    """Return what containers must see of this Python: its prefixes, Proa's source, and installed folders elsewhere.

    Where the user happens to stand, and the folder of the script, are on sys.path too, but are not installed:
    they may be a home folder.
    """
    source = os.path.abspath(__file__).rsplit("/proa/node/noded/", 1)[0]
    prefixes = [os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, sys.exec_prefix, source)]
    by_chance = {os.path.realpath(p) for p in ("/", ".", os.path.dirname(sys.argv[0] or "."))}
    by_chance |= {os.path.realpath(os.path.expanduser("~")), *_HOMES}
    folders = [os.path.realpath(p) for p in sys.path if p and os.path.isdir(p)]
    found: list[str] = []
    for path in [*prefixes, *(folder for folder in folders if folder not in by_chance)]:
        if not any(path == other or path.startswith(other.rstrip("/") + "/") for other in found):
            found.append(path)
    return tuple(found)


@functools.cache
def find_image(name: str) -> Image | None:
    """Return the image by name (with any tag, or a digest of its own), None when this node has no such image."""
    plain, _, digest = name.partition("@")
    repository = plain.rpartition(":")[0] if ":" in plain.rpartition("/")[2] else plain
    if repository != _REPOSITORY:
        return None
    identity = f"{sys.version}\0{sys.prefix}\0{sys.base_prefix}"
    found = "sha256:" + hashlib.sha256(identity.encode()).hexdigest()
    if digest and digest != found:
        return None
    return Image(
        name=plain if ":" in plain else f"{plain}:latest",
        repo_digest=f"{_REPOSITORY}@{found}",
        size_bytes=0,
        command=("python3",),
        env=(("PATH", make_path(host_path())), *make_environment(os.environ)),
    )
