"""Bring a model's pieces into a store: verified, resumed where they stopped, bounded, told of as they come.

A piece whose identity is known is not asked for again. One that is interrupted is tried again from where it was, by
this process or, after it was killed, by the next.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from proa.ml.serving.storage import archives
from proa.ml.serving.storage.pieces import Interrupted, Model, Opened, Piece, StorageError
from proa.ml.serving.storage.store import File, Store

ATTEMPTS = 6
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 0.5, 15.0
TELL_SECONDS = 5.0
CHUNK_BYTES = 1 << 20
AT_ONCE = 4
MAX_PIECES = 100_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Budget:
    """How many bytes a model may still have, and a word every few seconds on how many came."""

    def __init__(self, limit_bytes: int, say: Callable[[str], None]) -> None:
        """`say` takes a line for the log."""
        self._limit, self._say = limit_bytes, say
        self._came, self._expected, self._transferred = 0, 0, 0
        self._begun = self._told = time.monotonic()
        self._lock = threading.Lock()
        self._is_over = False

    def expect(self, pieces: Sequence[Piece]) -> None:
        """Take note of what will come; raise StorageError where that is too much."""
        self._expected += sum(piece.size or 0 for piece in pieces)
        self._check(self._expected)

    def take(self, count: int, *, transferred: bool = True) -> None:
        """Take note of bytes that came; raise StorageError where they are too many."""
        now = time.monotonic()
        with self._lock:
            self._came += count
            self._transferred += count if transferred else 0
            self._check(self._came)
            if self._is_over:
                raise StorageError("another file of the model could not be fetched")
            is_time = now - self._told >= TELL_SECONDS
            self._told = now if is_time else self._told
        if is_time:
            of = f" of {_human(self._expected)}" if self._expected else ""
            rate = self._transferred / max(now - self._begun, 0.001)
            self._say(f"{_human(self._came)}{of} fetched, {_human(int(rate))}/s")

    def give_back(self, count: int) -> None:
        """Bytes came for nothing, as those that are fetched again."""
        with self._lock:
            self._came -= count

    def end(self) -> None:
        """Let nothing more come."""
        self._is_over = True

    def say(self, words: str) -> None:
        """Tell of something else."""
        self._say(words)

    def told(self) -> str:
        """Return how much was transferred, and in what time."""
        return f"{_human(self._transferred)} in {time.monotonic() - self._begun:.1f} s"

    def _check(self, count: int) -> None:
        if count > self._limit:
            raise StorageError(
                f"the model has more than {_human(self._limit)}, which is the limit; its storageInitializer's"
                " modelBytes (ConfigMap inferenceservice-config) sets another"
            )


def fetch(
    model: Model, store: Store, budget: Budget, wait: Callable[[float], None] = time.sleep
) -> list[File]:
    """Return the model's files, all in the store; raise StorageError."""
    if not model.pieces:
        raise StorageError(f"Failed to fetch model. No model found in {model.resolved}.")
    if len(model.pieces) > MAX_PIECES:
        raise StorageError(f"{model.resolved} has more than {MAX_PIECES} files: archive them into one")
    budget.expect(model.pieces)
    _check_space(store, model.pieces)
    found: dict[str, File] = {}
    for one in _fetch_all(model, store, budget, wait):
        if one.sha256:
            found[one.path] = one
        else:
            _hide(found, one)
    if not found:
        where = f" below {model.pieces[0].below}/" if model.pieces[0].below else ""
        raise StorageError(f"Failed to fetch model. No model found in {model.resolved}{where}.")
    return list(found.values())


def _fetch_all(model: Model, store: Store, budget: Budget, wait: Callable[[float], None]) -> Iterator[File]:
    """Yield files in the pieces' order; several pieces are fetched at once."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as threads:
        try:
            work = [
                threads.submit(_fetch, piece, store, budget, wait, layers=model.layers)
                for piece in model.pieces
            ]
            for one in work:
                yield from one.result()
        except BaseException:
            budget.end()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _hide(found: dict[str, File], whiteout: File) -> None:
    is_opaque = bool(whiteout.size)
    for path in list(found):
        if path.startswith(f"{whiteout.path}/") or (path == whiteout.path and not is_opaque):
            del found[path]


def _fetch(
    piece: Piece, store: Store, budget: Budget, wait: Callable[[float], None], *, layers: bool
) -> list[File]:
    if piece.sha256 and not _SHA256.fullmatch(piece.sha256):  # it names a file of the store
        raise StorageError(f"{piece.path}: {piece.sha256[:80]!r} is no SHA-256 in hexadecimal digits")
    identity = f"{piece.identity}\n{piece.unpack}\n{piece.below}\n{layers}" if piece.identity else ""
    if not piece.unpack and piece.sha256 and store.has(piece.sha256, piece.size):
        return [File(piece.path, piece.sha256, piece.size or store.blob(piece.sha256).stat().st_size)]
    if (known := store.find(identity)) is not None:
        return _placed(known, piece)
    with store.partial(identity or f"\n{piece.path}\n{os.getpid()}") as file:
        if (known := store.find(identity)) is not None:  # another one fetched it while we waited
            Path(file.name).unlink()
            return _placed(known, piece)
        sha256, size = _download(piece, file, budget, wait)
        _verify(piece, file, sha256, size)
        files = _admit(piece, Path(file.name), store, budget, sha256, size, layers=layers)
        store.remember(identity, files)
        Path(file.name).unlink(missing_ok=True)
    return _placed(files, piece)


def _placed(files: Sequence[File], piece: Piece) -> list[File]:
    """Return files where this piece has them: an identity's may have been fetched under another name."""
    return list(files) if piece.unpack else [files[0]._replace(path=piece.path)]


def _download(
    piece: Piece, file: IO[bytes], budget: Budget, wait: Callable[[float], None]
) -> tuple[str, int]:
    """Return digest and size of what is then all in the file."""
    digest, seconds, attempt = _Digest(file, piece), FIRST_WAIT_SECONDS, 0
    budget.take(digest.size, transferred=False)
    while True:
        before = digest.size
        try:
            if piece.size is None or digest.size != piece.size or not digest.size:
                _transfer(piece, piece.open(digest.size), file, digest, budget)
            return digest.hexdigest(), digest.size
        except Interrupted as error:
            if not piece.identity:  # what comes next may be of other bytes
                budget.give_back(digest.size)
                digest.restart()
            attempt = 1 if digest.size > before else attempt + 1
            if attempt >= ATTEMPTS:
                raise StorageError(f"{error}; given up after {ATTEMPTS} attempts") from None
            budget.say(f"{error}; again in {seconds:.1f} s")
            wait(seconds)
            seconds = FIRST_WAIT_SECONDS if digest.size > before else min(2 * seconds, LAST_WAIT_SECONDS)


def _transfer(piece: Piece, opened: Opened, file: IO[bytes], digest: _Digest, budget: Budget) -> None:
    if opened.offset != digest.size:
        budget.give_back(digest.size)
        digest.restart()
    try:
        for chunk in opened.chunks:
            budget.take(len(chunk))
            if piece.size is not None and digest.size + len(chunk) > piece.size:
                raise StorageError(
                    f"{piece.path}: more came than the {piece.size} bytes that it was said to have"
                )
            file.write(chunk)
            digest.update(chunk)
    except OSError as error:
        raise StorageError(f"{piece.path} cannot be written: {error.strerror or error}") from None
    finally:
        file.flush()
        close = getattr(opened.chunks, "close", None)
        if close is not None:
            close()
    if piece.size is not None and digest.size != piece.size:
        raise Interrupted(f"{piece.path}: {digest.size} of {piece.size} bytes came")


class _Digest:
    """The digest of what is in a file that grows; of what was there before too, if it may go on from there."""

    def __init__(self, file: IO[bytes], piece: Piece) -> None:
        self._file = file
        self.size, self._hash = 0, hashlib.sha256()
        there = os.fstat(file.fileno()).st_size
        if not piece.identity or (piece.size is not None and there > piece.size):
            self.restart()
            return
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            self.update(chunk)

    def restart(self) -> None:
        self._file.truncate(0)
        self.size, self._hash = 0, hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _verify(piece: Piece, file: IO[bytes], sha256: str, size: int) -> None:
    """Raise StorageError, and keep nothing, where it is not what it was said to be."""
    wrong = ""
    if piece.sha256 and sha256 != piece.sha256:
        wrong = f"its SHA-256 is {sha256}, not {piece.sha256}"
    elif piece.git_sha1 and _git_sha1(file, size) != piece.git_sha1:
        wrong = f"it is not Git's {piece.git_sha1}"
    if wrong:
        file.truncate(0)
        raise StorageError(f"{piece.path} is not what it should be: {wrong}")


def _git_sha1(file: IO[bytes], size: int) -> str:
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _admit(
    piece: Piece, path: Path, store: Store, budget: Budget, sha256: str, size: int, *, layers: bool
) -> list[File]:
    if not piece.unpack:
        store.admit(path, sha256)
        return [File(piece.path, sha256, size)]
    budget.give_back(size)
    found = []
    for member in archives.members(path, piece.unpack, piece.below, layers=layers):
        if isinstance(member, archives.Whiteout):
            found.append(File(member.path, "", int(member.is_opaque)))
        else:
            found.append(_unpack(member, path.with_suffix(".member"), store, budget))
    return found


def _unpack(member: archives.Member, beside: Path, store: Store, budget: Budget) -> File:
    digest, size = hashlib.sha256(), 0
    with beside.open("wb") as file:
        for chunk in _chunks(member.file):
            budget.take(len(chunk), transferred=False)
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    store.admit(beside, digest.hexdigest())
    return File(member.path, digest.hexdigest(), size)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _check_space(store: Store, pieces: Sequence[Piece]) -> None:
    needed = sum(piece.size or 0 for piece in pieces if not store.has(piece.sha256 or "-"))
    free = shutil.disk_usage(store.root).free
    if needed > free:
        raise StorageError(f"the model needs {_human(needed)}, and {_human(free)} are free where it would be")


def _human(count: int | float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
