"""Keep models' files once, by what is in them, and show each revision its own as plain files.

    blobs/ab/abcd…          a file's bytes, named by their SHA-256; never written again
    known/…                 which blobs an identity (a source's name and tag) is made of
    partial/…               what has come of a download: it goes on from there, by whoever has the lock on it
    revisions/UID/NAME/     a revision's: files/… are links to blobs; `complete` says that all are there, on the disk
    lock                    shared by who adds, held alone by who removes

All of it may be used by several processes at once and be killed at any moment: what is named is whole and on the
disk, for it is written beside, flushed, and renamed. A blob with one link is no revision's: these may go, the longest
unused first. Folders of revisions go only when it is known that nobody needs them (`forget`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from proa.ml.serving.storage.conversions import remove_folder
from proa.ml.serving.storage.pieces import StorageError

COMPLETE, FILES = "complete", "files"
CONVERTED = "converted"
"""Beside an owner's revisions: what their servers have made of their models, a folder a revision (conversions.py)."""
UNUSED_DAYS = 30
PARTIAL_DAYS = 7
_DAY_SECONDS = 86_400


class File(NamedTuple):
    """A file of a model: its path, and which blob it is.

    Of an image's layer also what it hides of those before: no digest, and a `size` of 1 where only what is below goes.
    """

    path: str
    sha256: str
    size: int


class Store:
    """One store: a namespace's on a node, or a pod's own."""

    def __init__(self, root: Path) -> None:
        """Make what is missing of it."""
        self.root = root
        for name in ("blobs", "known", "partial", "revisions"):
            (root / name).mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Keep others from removing anything."""
        with _locked(self.root / "lock", fcntl.LOCK_SH):
            yield

    def blob(self, sha256: str) -> Path:
        """Return where a blob is, or would be."""
        return self.root / "blobs" / sha256[:2] / sha256

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Return whether a blob is here, of that size."""
        try:
            found = self.blob(sha256).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def find(self, identity: str) -> list[File] | None:
        """Return the files that an identity is made of, if all their blobs are here."""
        if not identity:
            return None
        try:
            said = json.loads(self._known(identity).read_bytes())
            files = [File(path, sha256, size) for path, sha256, size in said]
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return files if all(not one.sha256 or self.has(one.sha256, one.size) for one in files) else None

    def remember(self, identity: str, files: Sequence[File]) -> None:
        """Note what an identity is made of."""
        if identity:
            _write(self._known(identity), json.dumps(files).encode())

    @contextlib.contextmanager
    def partial(self, name: str) -> Iterator[IO[bytes]]:
        """Open what has come of a download, alone: who else wants it waits. What is left stays for the next one."""
        path = self.root / "partial" / _hashed(name)
        with _locked(path.with_suffix(".lock"), fcntl.LOCK_EX), path.open("a+b") as file:
            yield file

    def admit(self, path: Path, sha256: str) -> None:
        """Make a blob of a file of this store, which is flushed and moved."""
        target = self.blob(sha256)
        target.parent.mkdir(exist_ok=True)
        with path.open("rb") as file:
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
        path.rename(target)
        _flush(target.parent)

    def folder(self, revision: str) -> Path:
        """Return the folder of a revision, named UID/NAME."""
        return self.root / "revisions" / revision

    def is_complete(self, revision: str) -> bool:
        """Return whether all files of a revision are here."""
        return (self.folder(revision) / COMPLETE).exists()

    @contextlib.contextmanager
    def alone(self, revision: str, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Be the only one that fetches for a revision; `say` is told where another one does."""
        target = self.folder(revision)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f".{target.name}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another pod of the revision is fetching; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def complete(self, revision: str, files: Sequence[File], about: dict[str, object]) -> None:
        """Show a revision its files, all at once; its caller has it `alone`."""
        target = self.folder(revision)
        if self.is_complete(revision):
            return
        made = target.with_name(f".{target.name}.new")
        shutil.rmtree(made, ignore_errors=True)
        link_all(self, files, made / FILES)
        _write(made / COMPLETE, json.dumps({**about, "files": files}).encode())
        _flush(made)
        shutil.rmtree(target, ignore_errors=True)  # a folder without its mark is nobody's
        made.rename(target)
        _flush(target.parent)

    def evict(self, keep_bytes: int) -> int:
        """Remove blobs that no revision has, beyond a size or an age; return how many bytes went.

        While anybody adds, nothing is removed.
        """
        try:
            with _locked(self.root / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                return self._evict(keep_bytes, time.time())
        except BlockingIOError:
            return 0

    def _evict(self, keep_bytes: int, now: float) -> int:
        for path in (self.root / "partial").iterdir():
            if now - path.stat().st_mtime > PARTIAL_DAYS * _DAY_SECONDS:
                path.unlink()
        blobs = [(found, path) for path in (self.root / "blobs").glob("*/*") if (found := path.stat())]
        total, gone = sum(found.st_size for found, _ in blobs), 0
        for found, path in sorted(blobs, key=lambda one: one[0].st_ctime):
            is_old = now - found.st_ctime > UNUSED_DAYS * _DAY_SECONDS
            if found.st_nlink == 1 and (is_old or total - gone > keep_bytes):
                path.unlink()
                gone += found.st_size
        return gone

    def size(self) -> int:
        """Return how many bytes all blobs have."""
        return sum(path.stat().st_size for path in (self.root / "blobs").glob("*/*"))

    def _known(self, identity: str) -> Path:
        return self.root / "known" / _hashed(identity)


def forget(root: Path, live: Collection[str], now: float, grace_seconds: float) -> tuple[int, int]:
    """Remove the folders of revisions (UID/NAME) that are not live, once they have not been for a while.

    For whoever knows which are: the operator, where it reaches the folder. Returns how many went, and how many wait.
    """
    gone = waiting = 0
    for owner in (root / "revisions").glob("*"):
        for folder in (owner / CONVERTED, owner):
            names = {_revision_of(path.name) for path in folder.iterdir()} if folder.is_dir() else set()
            for name in names - {CONVERTED}:
                is_live = f"{owner.name}/{name}" in live
                went = _forget_one(folder, name, now, grace_seconds, is_live=is_live)
                gone, waiting = gone + went, waiting + (not is_live and not went)
            with contextlib.suppress(OSError):
                folder.rmdir()
    return gone, waiting


def list_converted(root: Path) -> list[Path]:
    """Return the folders of what servers have made of their models."""
    return sorted(path for path in (root / "revisions").glob(f"*/{CONVERTED}/*") if path.is_dir())


def _forget_one(folder: Path, name: str, now: float, grace_seconds: float, *, is_live: bool) -> bool:
    """Mark or remove a revision's folder; return whether it went."""
    mark = folder / f".{name}.lock.unused"
    if is_live:
        mark.unlink(missing_ok=True)
    elif not mark.exists():
        mark.touch()
    elif now - mark.stat().st_mtime >= grace_seconds:
        for path in (folder / name, folder / f".{name}.new"):
            remove_folder(path)
        for path in (folder / f".{name}.lock", mark):
            path.unlink(missing_ok=True)
        return True
    return False


def _revision_of(name: str) -> str:
    """Return which revision a name in its owner's folder is about."""
    if not name.startswith("."):
        return name
    return name[1:].removesuffix(".unused").removesuffix(".lock").removesuffix(".new")


def link_all(store: Store, files: Sequence[File], target: Path) -> None:
    """Show files in a folder, as links to their blobs; flushed."""
    folders = {target}
    target.mkdir(parents=True, exist_ok=True)
    for one in files:
        path = target / one.path
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders |= {path.parent, *(parent for parent in path.parent.parents if target in parent.parents)}
        try:
            os.link(store.blob(one.sha256), path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise StorageError(f"two files of the model would be at {one.path}") from None
    for folder in folders:
        _flush(folder)


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
