"""Handle layers' files in a process of its own, as root of the users that containers have: one job a line.

Run as `python -I worker.py <store directory>`; jobs come on standard input and answers go to standard output, a JSON
object each. It ends with its input. Its working folder is the store's `incoming`, to which its file names are relative.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import stat
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proa.images.unpack import Means

    Job = dict[str, Any]


def main(directory: str) -> None:
    """Answer jobs until there are no more."""
    os.umask(0o022)
    os.chdir(directory)
    means: Means | None = None
    for line in sys.stdin:
        try:
            means = means or find_means()
            answer = JOBS[(job := json.loads(line))["job"]](means, job)
        except Exception as error:
            answer = {"error": describe(error), "kind": type(error).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def describe(error: Exception) -> str:
    """Return an error's words."""
    if isinstance(error, OSError) and error.errno:
        return f"{os.strerror(error.errno)}: {error.filename or error.strerror}"
    return str(error) or type(error).__name__


def find_means() -> Means:
    """Become root of the users that containers have, and find out what the file system lets us do."""
    from proa.images.unpack import Means
    from proa.images.user_namespace import enter_users, has_many_users, is_inside

    is_root = os.geteuid() == 0 and _can_mark("trusted.overlay.")
    is_within = (
        os.geteuid() == 0 and is_inside()
    )  # a build's worker: its users are those that containers have
    many = is_root or (has_many_users() if is_within else enter_users())
    prefix = "trusted.overlay." if is_root else "user.overlay."
    return Means(owners=many, devices=is_root, whiteout_devices=_can_make_whiteouts(), prefix=prefix)


def _unpack(means: Means, job: Job) -> Job:
    from proa.images.unpack import unpack

    os.mkdir(job["target"], 0o755)
    with open(job["blob"], "rb") as file:
        found = unpack(file, job["target"], means, job["limit"])
    return {"diff_id": found.diff_id, "size": found.size, "entries": found.entries}


def _pack(means: Means, job: Job) -> Job:
    from proa.images.pack import pack

    with open(job["blob"], "xb") as file:
        found = pack(job["source"], file, gzip=job["gzip"])
        file.flush()
        os.fsync(file.fileno())
    return found._asdict()


def _sync(means: Means, job: Job) -> Job:
    """Have the whole file system on disk: a layer has too many files for one fsync each."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)
    return {}


def _remove(means: Means, job: Job) -> Job:
    """Remove a folder and all in it, whatever its modes and owners are."""
    import shutil

    def again(function: Callable[..., Any], path: str, _: object) -> None:
        if os.path.islink(path):
            raise PermissionError(path)
        os.chmod(os.path.dirname(path), 0o700)
        if os.path.isdir(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path)
        else:
            os.unlink(path)

    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(job["target"], onerror=again)
    return {}


def _move(means: Means, job: Job) -> Job:
    """Move a folder, unless it is on another file system."""
    try:
        os.rename(job["source"], job["target"])
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return {"moved": False}
    return {"moved": True}


JOBS: dict[str, Callable[[Any, Job], Job]] = {
    "unpack": _unpack,
    "pack": _pack,
    "sync": _sync,
    "move": _move,
    "remove": _remove,
}


def _can_mark(prefix: str) -> bool:
    name = f"probe-{os.getpid()}"
    os.mkdir(name)
    try:
        os.setxattr(name, prefix + "opaque", b"y")
    except OSError:
        return False
    finally:
        os.rmdir(name)
    return True


def _can_make_whiteouts() -> bool:
    name = f"probe-{os.getpid()}"
    try:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0))
    except OSError:
        return False
    os.unlink(name)
    return True


if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/proa/images/", 1)[0])
    main(sys.argv[1])
