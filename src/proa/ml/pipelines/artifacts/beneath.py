"""Open, walk, sync and remove files below a folder, whatever containers have left there: no symbolic link is followed.

Each name on the way is opened relative to the folder before it with O_NOFOLLOW, so neither a link nor a rename while
this goes on leads out. Only files and folders count; pipes, sockets and devices are never opened for reading.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from proa.ml.pipelines.artifacts.protocol import ArtifactError, Stat
from proa.objects.quick_dataclass import dataclass

MAX_ENTRIES = 200_000
"""Of one artifact."""
MAX_DEPTH = 100
_SYNCS_AT_ONCE = 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """One thing below a folder: its path from there, and the folder's descriptor and its name to open it by."""

    path: str
    info: os.stat_result
    folder: int
    name: str


@contextlib.contextmanager
def open_folder(root: Path, parts: Sequence[str], *, make: int = 0) -> Iterator[int]:
    """Open the folder at `parts` below `root`; what is missing is made with the mode `make`, unless it is 0."""
    with contextlib.ExitStack() as stack:
        folder = _enter(stack, os.open(root, _FOLDER))
        for part in parts:
            if make:
                _make(part, folder, make)
            folder = _enter(stack, os.open(part, _FOLDER, dir_fd=folder))
        yield folder


def _enter(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _make(name: str, folder: int, mode: int) -> None:
    """Make a folder with just this mode, whatever the umask; one that is there stays as it is."""
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        return
    made = os.open(name, _FOLDER, dir_fd=folder)
    try:
        os.fchmod(made, mode)
    finally:
        os.close(made)


def make_folder(root: Path, parts: Sequence[str], mode: int, above: int = 0o755) -> None:
    """Make the folder at `parts` with the mode `mode`, and those above it with `above`."""
    with open_folder(root, parts[:-1], make=above) as folder:
        _make(parts[-1], folder, mode)


def find(root: Path, parts: Sequence[str]) -> os.stat_result | None:
    """Return what is there, None for nothing, not even where a link stands in for a folder."""
    try:
        with open_folder(root, parts[:-1]) as folder:
            if not parts:
                return os.fstat(folder)
            return os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


@contextlib.contextmanager
def open_file(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """Open a file to read it; raise ArtifactError for what is none, FileNotFoundError for nothing."""
    with open_folder(root, parts[:-1]) as folder:
        descriptor = open_in(folder, parts[-1])
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_in(folder: int, name: str) -> int:
    """Open a file of a folder to read it; raise ArtifactError where it is none."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ArtifactError(f"{name!r} is no file but a link or a socket, and is not followed") from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ArtifactError(f"{name!r} is no file")


def walk(folder: int, path: str = "", depth: int = 0, count: list[int] | None = None) -> Iterator[Found]:
    """Yield what is below an open folder, sorted, each folder before what is in it.

    Raises ArtifactError beyond MAX_ENTRIES and MAX_DEPTH.
    """
    count = [0] if count is None else count
    if depth > MAX_DEPTH:
        raise ArtifactError(f"{path[:80]!r}…: folders are more than {MAX_DEPTH} deep")
    for name in sorted(os.listdir(folder)):
        count[0] += 1
        if count[0] > MAX_ENTRIES:
            raise ArtifactError(f"more than {MAX_ENTRIES} files: archive them into one")
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:  # gone since
            continue
        here = f"{path}{name}"
        yield Found(here, info, folder, name)
        if stat.S_ISDIR(info.st_mode):
            inner = os.open(name, _FOLDER, dir_fd=folder)
            try:
                yield from walk(inner, here + "/", depth + 1, count)
            finally:
                os.close(inner)


def measure(root: Path, parts: Sequence[str]) -> Stat | None:
    """Return size and tag: of names, sizes and times of change. None for nothing.

    Contents are not read: an artifact may have gigabytes, and the cache asks for its tag before each hit. Who changes,
    truncates or replaces a file leaves another size or time.
    """
    info = find(root, parts)
    if info is None or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
        return None
    tag = hashlib.sha256(_describe("", info))
    if not stat.S_ISDIR(info.st_mode):
        return Stat(info.st_size, tag.hexdigest(), is_folder=False)
    size = 0
    with open_folder(root, parts) as folder:
        for found in walk(folder):
            tag.update(_describe(found.path, found.info))
            size += found.info.st_size if stat.S_ISREG(found.info.st_mode) else 0
    return Stat(size, tag.hexdigest(), is_folder=True)


def _describe(path: str, info: os.stat_result) -> bytes:
    kind = stat.S_IFMT(info.st_mode)
    numbers = f"{info.st_size}\0{info.st_mtime_ns}" if kind != stat.S_IFDIR else ""
    return f"{path}\0{kind}\0{numbers}\n".encode("utf-8", "surrogateescape")


def sync(root: Path, parts: Sequence[str]) -> None:
    """Bring a folder, all below it and the way to it to the disk, and let every user read it.

    A step may have run as another user than the next one, with a umask of its own: modes get r (and x of folders).
    Syncs go on side by side, as a file system answers many with one commit of its journal.
    """
    from concurrent.futures import ThreadPoolExecutor  # dear: programs in pods read this module too

    with ThreadPoolExecutor(_SYNCS_AT_ONCE) as threads, contextlib.ExitStack() as waiting:
        for number, descriptor in enumerate(_open_all(root, parts)):
            if number % _SYNCS_AT_ONCE == 0:
                waiting.close()
            waiting.callback(os.close, descriptor)
            waiting.callback(threads.submit(os.fsync, descriptor).result)


def _open_all(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """Open what is to be synced, one after the other; who asks closes it."""
    with open_folder(root, parts) as folder:
        for found in walk(folder):
            is_folder = stat.S_ISDIR(found.info.st_mode)
            if is_folder or stat.S_ISREG(found.info.st_mode):
                descriptor = (
                    os.open(found.name, _FOLDER, dir_fd=found.folder)
                    if is_folder
                    else open_in(found.folder, found.name)
                )
                _let_read(descriptor, found.info.st_mode, 0o555 if is_folder else 0o444)
                yield descriptor
    for length in range(len(parts) + 1):
        with open_folder(root, parts[:length]) as above:
            yield os.dup(above)


def _let_read(descriptor: int, mode: int, wanted: int) -> None:
    if mode & wanted != wanted:
        with contextlib.suppress(PermissionError):  # another user's, of whom this one could at least read it
            os.fchmod(descriptor, stat.S_IMODE(mode) | wanted)


def write(root: Path, parts: Sequence[str], data: bytes) -> None:
    """Replace a file durably: its readers see the old content or the new."""
    with open_folder(root, parts[:-1], make=0o755) as folder:
        temporary = f".{os.urandom(16).hex()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, 0o644)
                os.fsync(descriptor)
            os.replace(temporary, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
    for length in range(len(parts) - 1):
        with open_folder(root, parts[:length]) as above:
            os.fsync(above)


def remove(root: Path, parts: Sequence[str]) -> None:
    """Remove a file or folder with all below it; nothing there is fine."""
    try:
        with open_folder(root, parts[:-1]) as folder:
            info = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                shutil.rmtree(parts[-1], dir_fd=folder)
            else:
                os.unlink(parts[-1], dir_fd=folder)
            os.fsync(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
