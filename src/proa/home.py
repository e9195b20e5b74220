"""Name every path below `$PROA_HOME`, and tell whether a server runs there.

Everything that a cluster keeps is in its home, so two homes are two clusters. Standard library only: the
command line reads this before anything else.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

DEFAULT_HOME = "~/.proa"
_PASSING_LOCK_SECONDS = 0.2


def find_home(option: str | None) -> Home:
    """Return the home named by `--home`, else by `$PROA_HOME`, else `~/.proa`; raise UntrustedHome."""
    home = Home(Path(option or os.environ.get("PROA_HOME") or DEFAULT_HOME).expanduser().absolute())
    check_trust(home.path)
    return home


def option_for(path: Path) -> str:
    """Return the option with which other commands find this home, "" where they find it without."""
    usual = Path(os.environ.get("PROA_HOME") or DEFAULT_HOME).expanduser().absolute()
    return "" if path == usual else f" --home {path}"


class UntrustedHome(PermissionError):
    """Another user could put files of theirs into this home: keys to be trusted, a pid to be killed."""


def check_trust(path: Path) -> None:
    """Raise UntrustedHome where somebody who is neither root nor this user could change what is below `path`.

    Each folder on the way must be ours or root's, and writable by others only where /tmp's bit keeps them apart.
    """
    me = os.geteuid()
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        try:
            found = folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        allowed = {me} if folder == real else {me, 0, _overflow_uid()}
        if found.st_uid not in allowed:
            raise _untrusted(folder, f"it belongs to uid {found.st_uid}, not to you (uid {me})")
        shared = found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid not in (0, os.getegid()))
        if shared and not (found.st_mode & 0o1000 and folder != real):
            raise _untrusted(folder, "other users may write to it")


def _untrusted(folder: Path, why: str) -> UntrustedHome:
    words = f"a cluster's home is safe nowhere below it: {why}; name another with --home or PROA_HOME"
    return UntrustedHome(errno.EACCES, words, str(folder))


def _overflow_uid() -> int:
    """Return as whom a user namespace shows users that it does not have: those of the system around it."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (FileNotFoundError, ValueError):
        return 65534


class Home(NamedTuple):  # no dataclass: each `proa` would wait for what that imports
    """One cluster's folder."""

    path: Path

    @property
    def settings(self) -> Path:
        """This cluster's id, and the port and address that its API had last."""
        return self.path / "cluster.json"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.path / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.path / "kubeconfig"

    @property
    def store(self) -> Path:
        """The append log."""
        return self.path / "store"

    @property
    def volumes(self) -> Path:
        """What the `local-path` storage class makes."""
        return self.path / "volumes"

    @property
    def pipelines_database(self) -> Path:
        """What pipelines are and what was run, unless a database server has it."""
        return self.path / "pipelines" / "pipelines.db"

    @property
    def tuning_database(self) -> Path:
        """The points of trials' metrics, unless a database server has them."""
        return self.path / "tuning" / "observations.db"

    @property
    def models(self) -> Path:
        """Files of models that are served, by namespace, as nodes have fetched them."""
        return self.path / "serving" / "models"

    @property
    def databases(self) -> tuple[Path, ...]:
        """What may be in the home besides objects, each in a folder of its own; a backup has them."""
        return self.pipelines_database, self.tuning_database

    @property
    def artifacts(self) -> Path:
        """What pipelines' steps pass on, by namespace, where no object store has it."""
        return self.path / "pipelines" / "artifacts"

    @property
    def images(self) -> Path:
        """Images, shared by all nodes: blobs, unpacked layers, names."""
        return self.path / "images"

    @property
    def log(self) -> Path:
        """What a detached server prints."""
        return self.path / "server.log"

    @property
    def audit_log(self) -> Path:
        """Who did what, where that is noted and nowhere else."""
        return self.path / "audit.log"

    @property
    def pid_file(self) -> Path:
        """The running server's process id and what a person may want to know of it, as JSON."""
        return self.path / "server.pid"

    @property
    def lock_file(self) -> Path:
        """Locked by the server for as long as it lives."""
        return self.path / "server.lock"

    @property
    def gateway(self) -> Path:
        """What Envoy is told, and its access log, once there was an Ingress or a Gateway."""
        return self.path / "gateway"

    @property
    def nodes(self) -> Path:
        """One folder a node."""
        return self.path / "nodes"

    def node(self, name: str) -> Path:
        """One node's folder."""
        return self.nodes / name

    @property
    def restore_ready(self) -> Path:
        """What `proa restore` has checked and is about to put in place of what is there."""
        return self.path / "restore.ready"

    def finish_restore(self) -> None:
        """Put in place what a restore has made ready, also where it was interrupted; nothing where there is none."""
        if not self.restore_ready.is_dir():
            return
        import shutil  # dear, and rarely needed

        for source in sorted(self.restore_ready.iterdir()):
            target = self.path / source.name
            database = next((path for path in self.databases if path.parent == target), None)
            if database is not None:
                _replace_database(source, database)
                continue
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(source, target)
        self.restore_ready.rmdir()

    def make(self) -> None:
        """Create the folder for its owner alone."""
        check_trust(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_mode & 0o077:
            self.path.chmod(0o700)

    def node_folders(self) -> list[Path]:
        """Return the folders of the nodes that were ever here, by name."""
        return sorted(self.nodes.iterdir()) if self.nodes.is_dir() else []

    def lock(self) -> int:
        """Return a descriptor that holds the server's lock; raise BlockingIOError when a server runs."""
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _PASSING_LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # who only asks whether a server runs holds it too, for a moment
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise
                time.sleep(0.005)
            else:
                return descriptor

    def is_running(self) -> bool:
        """Tell whether a server holds the lock."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def find_server(self) -> dict[str, Any] | None:
        """Return what the running server wrote of itself (pid, server, startedAt), None when none runs."""
        if not self.is_running():
            return None
        try:
            found = json.loads(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _replace_database(source: Path, database: Path) -> None:
    """Put a database in place; what else is in its folder stays."""
    folder = database.parent
    folder.mkdir(mode=0o700, exist_ok=True)
    for journal in folder.glob(f"{database.name}-*"):
        journal.unlink()
    for file in source.iterdir():
        os.replace(file, folder / file.name)
    source.rmdir()


def write_private(path: Path, content: str | bytes) -> None:
    """Replace a file at once and for its owner alone (0600): readers see the old content or the new."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
