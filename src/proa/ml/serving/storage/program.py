"""The storage initializer: have models' files in a store, or in folders, and say why not where that fails.

With --store, files are shown at REVISION/files/PATH of the store, and a later start finds them there. Without, as
KServe's own initializer, each file is in the folder that follows its URI. What fails is said in the container's
termination message.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from proa.ml.serving.storage.fetching import Budget, fetch
from proa.ml.serving.storage.pieces import StorageError, Surroundings
from proa.ml.serving.storage.sources import find
from proa.ml.serving.storage.store import File, Store, link_all

TERMINATION_LOG = "/dev/termination-log"
MAX_MESSAGE = 4000
PRIVATE_STORE = ".proa-store"
"""In a folder that a model is fetched to; gone when it is there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch; return the process' exit code."""
    options = _parser().parse_args(arguments)
    if not options.sources_and_targets or len(options.sources_and_targets) % 2:
        _parser().error("expected pairs: URI FOLDER [URI FOLDER ...]")
    pairs = list(zip(options.sources_and_targets[::2], options.sources_and_targets[1::2], strict=True))
    try:
        if options.store:
            _into_store(options, pairs)
        else:
            for index, (uri, folder) in enumerate(pairs):
                _into_folder(uri, Path(folder), index, options)
    except StorageError as error:
        return _failed(str(error), options.access)
    except OSError as error:
        return _failed(f"{error.strerror or error}: {error.filename or options.store}", options.access)
    return 0


def _into_store(options: argparse.Namespace, pairs: Sequence[tuple[str, str]]) -> None:
    store = Store(Path(options.store))
    begun = time.monotonic()
    with store.shared(), store.alone(options.revision, _say):
        if store.is_complete(options.revision):
            return
        files: list[File] = []
        resolved = {}
        for index, (uri, path) in enumerate(pairs):
            found, resolved[_shown(uri)] = _fetch(uri, index, store, options)
            files += [one._replace(path=f"{path}/{one.path}" if path != "." else one.path) for one in found]
        store.complete(options.revision, files, {"resolved": resolved, "at": int(time.time())})
    _say(f"{len(files)} files are in place after {time.monotonic() - begun:.2f} s")
    gone = store.evict(options.keep)
    if gone:
        _say(f"{gone >> 20} MiB that nobody used have left the cache")


def _into_folder(uri: str, folder: Path, index: int, options: argparse.Namespace) -> None:
    """As KServe's: files are beside whatever is there already; one that is there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    private = folder / PRIVATE_STORE
    store = Store(private)
    with store.shared():
        files, _ = _fetch(uri, index, store, options)
        link_all(store, files, private / "files")
        for one in files:
            target = folder / one.path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(private / "files" / one.path, target)
            target.chmod(0o644)
    shutil.rmtree(private)
    _say(f"{len(files)} files are in {folder}")


def _fetch(uri: str, index: int, store: Store, options: argparse.Namespace) -> tuple[list[File], str]:
    sources = Path(options.sources) if options.sources else None
    around = Surroundings(os.environ, sources, index)
    shown = _shown(uri)
    _say(f"fetching {shown}")
    model = find(uri, around, options.sha256, _say)
    budget = Budget(options.limit, _say)
    files = fetch(model, store, budget)
    _say(f"{model.resolved}: {len(files)} files, {budget.told()} transferred")
    return files, model.resolved


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proa.ml.serving.storage", description=__doc__)
    parser.add_argument("sources_and_targets", nargs="*", metavar="URI FOLDER")
    parser.add_argument("--store", default="", help="a folder that models are kept in")
    parser.add_argument("--revision", default="", help="where in the store its files are shown")
    parser.add_argument("--limit", type=int, default=200 << 30, help="how many bytes a model may have")
    parser.add_argument(
        "--keep", type=int, default=50 << 30, help="how many bytes the store keeps of what nobody uses"
    )
    parser.add_argument("--sources", default="", help="the folder in which folders of the node are shown")
    parser.add_argument("--sha256", default="", help="what the file, or archive, must be")
    parser.add_argument("--access", default="", help="whose credentials these are, for messages")
    return parser


def _failed(words: str, access: str) -> int:
    """Say why, where people and the operator look."""
    if access and any(
        sign in words
        for sign in ("ccess denied", "authentication", "credentials", "let us in", " 401", " 403")
    ):
        words += f". The download ran with {access}"
    words = words[:MAX_MESSAGE]
    print(words, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        if os.path.exists(TERMINATION_LOG):
            Path(TERMINATION_LOG).write_text(words)
    return 1


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _shown(uri: str) -> str:
    """Return a URI without what may be secret: a query, a user."""
    scheme, separator, rest = uri.partition("://")
    rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2] if scheme.startswith(('http', 'git')) else host}{slash}{path}"
