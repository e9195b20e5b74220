"""Bring a stopped cluster back to what a backup has."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from proa.cli import Failure, UsageError
from proa.cli.terminal import Terminal, print_json
from proa.cluster_settings import read_settings
from proa.home import Home, find_home, option_for

DESCRIPTION = """\
Put all objects, keys and settings of a backup into this home, whose cluster must be stopped, or into an empty one.
The whole file is checked before anything changes, and then everything changes at once.
"""
EPILOG = """\
What the home's cluster had is replaced: objects, and keys with them, so that kubeconfigs and tokens of the time of the
backup are good again, and later ones are not. Port and address stay this home's. Volumes stay as they are.
A home whose store is an etcd is refused: restore into another home, or use etcd's own `etcdutl snapshot restore`.
A backup of a cluster that encrypts at rest needs its key: `proa up --encryption-config FILE` as before.

examples:
  proa restore backup.jsonl.gz                        asks before it replaces a cluster
  proa restore backup.jsonl.gz --home /srv/copy --yes
  ssh host 'cat cluster.gz' | proa restore - --yes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("file", metavar="FILE", help="what `proa backup` wrote; - is standard input")
    parser.add_argument("--yes", action="store_true", help="replace this home's cluster without asking")
    parser.add_argument(
        "-o",
        "--output",
        choices=["text", "json"],
        default="text",
        help="how to say what was restored (default: text)",
    )


def run(options: argparse.Namespace) -> int:
    """Restore it."""
    home, terminal = find_home(options.home), Terminal()
    with opened(options.file) as file:
        home.make()
        try:
            lock = home.lock()
        except BlockingIOError:
            raise Failure(f"the cluster in {home.path} runs: stop it first with `proa down`") from None
        try:
            check(home, options)
            terminal.progress("reading and checking the backup")
            restored = restore(home, file)
        finally:
            os.close(lock)
    if options.output == "json":
        print_json({**restored, "home": str(home.path)})
    else:
        terminal.line(
            f"restored to {home.path}: {restored['objects']} objects at revision {restored['revision']}, as of "
            f"{restored['createdAt']}"
        )
        terminal.line(f"start it with: proa up --detach{option_for(home.path)}")
    return 0


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """Open the backup."""
    if name == "-":
        yield sys.stdin.buffer
        return
    with open(name, "rb") as file:
        yield file


def check(home: Home, options: argparse.Namespace) -> None:
    """Refuse a home in which something still runs, or whose objects are elsewhere; ask before one is replaced."""
    from proa.node.noded.launch import running_pid

    home.finish_restore()
    for node in sorted(home.nodes.iterdir()) if home.nodes.is_dir() else ():
        if running_pid(node) is not None:
            raise Failure(f"pods of the cluster in {home.path} still run: stop them first with `proa down`")
    kept = read_settings(home)
    if kept is None:
        return
    if kept.store:
        raise Failure(
            f"the objects of the cluster in {home.path} are in {kept.store}: restore into another home, or restore "
            "that etcd with `etcdutl snapshot restore`"
        )
    if options.yes:
        return
    if options.file == "-" or not sys.stdin.isatty():
        raise UsageError(f"this replaces all objects and keys of the cluster in {home.path}: say --yes")
    answer = input(f"Replace all objects and keys of the cluster in {home.path}? [y/N] ")
    if answer.lower() not in ("y", "yes"):
        raise Failure("nothing was changed")


def restore(home: Home, file: IO[bytes]) -> dict[str, object]:
    """Check the backup and put it in place."""
    from proa.apiserver.backup_file import BadBackup
    from proa.apiserver.restoring import stage

    try:
        restored = stage(home, file)
    except BadBackup as error:
        raise Failure(f"the backup cannot be used, and nothing was changed: {error}") from None
    home.finish_restore()
    return restored
