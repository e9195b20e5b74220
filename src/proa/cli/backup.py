"""Write everything that a running cluster's API has to one file, as of one moment."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from proa import __version__
from proa.cli import Failure, UsageError
from proa.cli.terminal import Terminal, format_bytes, print_json
from proa.home import Home, find_home, option_for

if TYPE_CHECKING:
    from proa.apiserver.backup_file import Writer

DESCRIPTION = """\
Write all objects of the running cluster, its keys and its settings to one file, for `proa restore`.
The cluster goes on meanwhile; the backup shows it at one revision.
"""
EPILOG = """\
The file holds every Secret and the cluster's private keys: whoever can read it is the cluster's administrator.
It is yours alone (0600). What is encrypted at rest (`proa up --encryption-config`) is encrypted in it too, and its
key is not in it: keep that beside it. Volumes, images, artifacts of pipelines and logs are not in it, nor are databases
of pipelines and of tuning that a PostgreSQL has; those in the home are.

A stopped cluster needs no backup: its folder may be copied as it is.
A cluster whose store is an etcd can be backed up so too; `etcdctl snapshot save` does it for everything in that etcd.

examples:
  proa backup                          to proa-backup-20260131-120000.jsonl.gz here
  proa backup /srv/backups/today.gz    to that file; one that exists is kept, unless --force
  proa backup - | ssh host 'cat > cluster.gz'
"""
PATH = "/proa/backup"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="where to write it; - is standard output (default: a name with the time)",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "-o",
        "--output",
        choices=["text", "json"],
        default="text",
        help="how to say what was written (default: text)",
    )


def run(options: argparse.Namespace) -> int:
    """Write it."""
    home = find_home(options.home)
    if not home.is_running():
        raise Failure(
            f"no cluster runs in {home.path}: start it with `proa up --detach{option_for(home.path)}`; the folder "
            "of one that is stopped may be copied as it is"
        )
    name = options.file or time.strftime("proa-backup-%Y%m%d-%H%M%S.jsonl.gz")
    terminal = Terminal(sys.stderr if name == "-" else None)
    with opened(name, options.force) as file:
        written = asyncio.run(write(home, file, terminal))
    if options.output == "json" and name != "-":
        print_json({**written, "file": os.path.abspath(name)})
    else:
        where = "standard output" if name == "-" else name
        terminal.line(f"{where}: {written['objects']} objects at revision {written['revision']}")
        terminal.line("it holds Secrets and the cluster's keys: keep it where nobody else can read it")
    return 0


@contextmanager
def opened(name: str, force: bool) -> Iterator[IO[bytes]]:
    """Open the file: under its name only once it is whole and on disk, and for its owner alone."""
    if name == "-":
        if sys.stdout.isatty():
            raise UsageError("a backup is not for a terminal: name a file, or pipe it somewhere")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name} is a folder: name a file in it")
    if path.exists() and not force:
        raise Failure(f"{name} exists already: --force replaces it")
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:  # made 0600
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if force:
                os.replace(file.name, path)
            else:
                link(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def link(source: str, path: Path) -> None:
    """Give a file its name unless another has it by now."""
    try:
        os.link(source, path)
    except FileExistsError:
        raise Failure(f"{path} exists already: --force replaces it") from None
    os.unlink(source)


async def write(home: Home, file: IO[bytes], terminal: Terminal) -> dict[str, Any]:
    """Write the backup; return what it has."""
    from proa.apiserver.backup_file import Writer

    writer = Writer(file, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), __version__)
    writer.write_file("cluster.json", home.settings.read_bytes())
    for path in sorted(home.pki.iterdir()):
        if path.is_file():
            writer.write_file(f"pki/{path.name}", path.read_bytes())
    for database in home.databases:
        if database.is_file():
            write_database(writer, home, database)
    expected, size_bytes = 0, 0
    written: dict[str, Any] = {}
    async for lines in read(home):
        writer.write(lines)
        size_bytes += len(lines)
        first = lines[:16]
        if first.startswith(b'{"start"'):
            start = json.loads(lines)["start"]
            expected, written["revision"] = start["objects"], start["revision"]
        elif first.startswith(b'{"end"'):
            written["objects"] = json.loads(lines)["end"]["objects"]
        elif first.startswith(b'{"error"'):
            raise Failure(f"the backup could not be completed: {json.loads(lines)['error']}; try again")
        terminal.progress(f"{format_bytes(size_bytes)} of about {expected} objects")
    if "objects" not in written:
        raise Failure("the server ended before the backup did; nothing was written")
    writer.finish()
    return {**written, "bytes": size_bytes}


def write_database(writer: Writer, home: Home, database: Path) -> None:
    """Write a database as it is at one moment, whoever writes to it meanwhile; raise Failure."""
    from proa.ml.database.copying import copied
    from proa.ml.database.errors import CannotOpen

    try:
        with copied(database) as file:
            writer.write_large_file(str(database.relative_to(home.path)), file)
    except CannotOpen as error:
        raise Failure(str(error)) from None


async def read(home: Home) -> AsyncIterator[bytes]:
    """Yield what the server streams, cut so that lines that say something of the backup itself stand alone."""
    from proa.client.http import HttpTransport
    from proa.client.kubeconfig import load_kubeconfig, make_ssl_context
    from proa.client.protocol import Request
    from proa.objects.errors import ApiError

    cluster = load_kubeconfig(home.kubeconfig)
    transport = HttpTransport(cluster.server, make_ssl_context(cluster))
    try:
        response = await transport.send(Request("GET", PATH))
        if response.status != 200 or response.stream is None:
            raise Failure(f"the server refused (HTTP {response.status}): {response.body[:500]!r}")
        rest = b""
        async for piece in response.stream:
            whole, newline, tail = (rest + piece).rpartition(b"\n")
            rest = tail
            if not newline:
                continue
            while whole:
                line, _, whole = whole.partition(b"\n") if is_mark(whole) else cut(whole)
                yield line + b"\n"
        if rest:
            raise Failure("the server's answer was cut off; nothing was written")
    except ApiError as error:
        raise Failure(f"the API does not answer: {error.message}") from None
    finally:
        await transport.close()


MARKS = (b'{"start"', b'{"end"', b'{"error"')


def is_mark(lines: bytes) -> bool:
    """Tell whether the first line is none of an object."""
    return lines.startswith(MARKS)


def cut(lines: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (the lines of objects, a separator, the rest, which begins with a mark)."""
    at = min((found for mark in MARKS if (found := lines.find(b"\n" + mark)) >= 0), default=-1)
    return (lines[:at], b"\n", lines[at + 1 :]) if at >= 0 else (lines, b"", b"")
