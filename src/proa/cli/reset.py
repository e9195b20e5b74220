"""Stop the cluster and remove everything that it keeps."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from proa.cli import Failure, UsageError
from proa.cli.down import stop
from proa.cli.terminal import Terminal
from proa.home import Home, find_home

DESCRIPTION = """\
Stop the cluster in this home and remove all that it keeps: objects, volumes, images, logs, keys.
There is no way back. A terminal is asked first; anything else needs --yes.
"""
OURS = (
    "cluster.json",
    "join.json",
    "pki",
    "kubeconfig",
    "store",
    "volumes",
    "server.pid",
    "server.lock",
    "server.log",
    "audit.log",
    "nodes",
    "images",
    "gateway",
    "pipelines",
    "tuning",
    "serving",
    "restore.tmp",
    "restore.ready",
)
"""Only what we made is removed, so that a --home given by mistake loses nothing of its owner's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Remove it."""
    home, terminal = find_home(options.home), Terminal()
    if not home.settings.exists() and not home.lock_file.exists():  # a pki alone may be anybody's
        terminal.line(f"there is no cluster in {home.path}")
        return 0
    if not options.yes and not is_confirmed(home):
        raise Failure("nothing was removed")
    stop(home, 30.0, terminal)
    elsewhere = find_store(home)
    remove(home)
    terminal.line(f"removed: {home.path}")
    if elsewhere:
        terminal.line(f"its objects are still in {elsewhere}; `etcdctl del --prefix` removes them")
    return 0


def find_store(home: Home) -> str:
    """Return the address of the etcd that has the cluster's objects, "" where they are in its home."""
    try:
        return str(json.loads(home.settings.read_text()).get("store") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def is_confirmed(home: Home) -> bool:
    """Ask a person."""
    if not sys.stdin.isatty():
        raise UsageError(f"this removes everything in {home.path}: say --yes")
    return input(f"Remove the cluster in {home.path}, with all its objects and volumes? [y/N] ").lower() in (
        "y",
        "yes",
    )


def remove(home: Home) -> None:
    """Remove what a cluster keeps, and the folder itself when nothing else is in it."""
    from proa.node.noded.records import remove_tree

    for path in (*(home.path / name for name in OURS), *home.path.glob("audit-*.log")):
        if path.is_dir() and not path.is_symlink():
            try:
                remove_tree(str(path))  # unlike shutil's, it enters the closed folders of an overlay
            except PermissionError:
                remove_as_users(home, path)
        else:
            path.unlink(missing_ok=True)
    if not any(home.path.iterdir()):
        home.path.rmdir()


def remove_as_users(home: Home, path: Path) -> None:
    """Remove what belongs to users of containers: to subordinate ids of this one."""
    from proa.images.errors import ImageError
    from proa.images.workers import Workers

    try:
        with Workers(home.path) as workers:
            workers.run("remove", target=str(path))
    except ImageError as error:
        raise Failure(f"{path} cannot be removed: {error}") from None
