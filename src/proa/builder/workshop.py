"""Hold what every step of one build works with: the store, its workers, the cache, scratch folders, who we are."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from proa.builder.cache import BuildCache, Record
from proa.builder.isolation import Level
from proa.builder.layers import Mounted
from proa.builder.request import GetImage, Progress, Request
from proa.builder.tree import Tree
from proa.images.layers import Layer
from proa.images.locks import locked
from proa.images.store import ImageStore
from proa.images.workers import Workers
from proa.node.noded import linux


class Workshop:
    """What steps work with. Open it as a context, inside of the build's namespaces."""

    def __init__(
        self, store: ImageStore, request: Request, progress: Progress, get_image: GetImage, level: Level
    ) -> None:
        self.store = store
        self.request = request
        self.progress = progress
        self.get_image = get_image
        self.level = level
        self.cache = BuildCache(store)
        self._stack = contextlib.ExitStack()
        self._folders = store.directory / "build-cache" / "scratch"
        self.scratch = self._folders / uuid.uuid4().hex

    def __enter__(self) -> Workshop:
        with contextlib.ExitStack() as stack:
            self._folders.mkdir(parents=True, exist_ok=True)
            self._remove_left_over()
            stack.enter_context(locked(self.scratch.with_suffix(".lock")))
            stack.callback(self._leave)
            self.scratch.mkdir(mode=0o755)
            stack.enter_context(self.store.lease())
            self.workers: Workers = stack.enter_context(self.store.workers())
            self.own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self.own_pid_namespace)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def single_uid(self) -> bool:
        """Whether root is the only user here."""
        return self.level == "rootless"

    def now(self) -> float:
        """Return the time that what is made now has."""
        return float(self.request.epoch) if self.request.epoch is not None else time.time()

    def new_folder(self) -> Path:
        """Return the path of a scratch folder that is not there yet."""
        return self.scratch / uuid.uuid4().hex[:8]

    def secret_file(self, content: bytes) -> Path:
        """Return a file with a secret's content, in memory, as long as the build goes."""
        folder = self.scratch / "secrets"
        if not folder.exists():
            folder.mkdir(mode=0o755)
            linux.mount("tmpfs", str(folder), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=16m")
            self._stack.callback(linux.umount, str(folder))
        path = folder / uuid.uuid4().hex[:8]
        path.write_bytes(content)
        return path

    @contextlib.contextmanager
    def mounted(self, layers: Sequence[Layer], *, writable: bool = True) -> Iterator[Mounted]:
        """Yield the layers laid on one another (the lowest first), with room to write on top."""
        lowers = [self.store.layers.path(layer.diff_id) for layer in reversed(layers)]
        folder = self.new_folder()
        mounted = Mounted(folder, lowers, writable=writable, userxattr=self.level != "root")
        try:
            yield mounted
        finally:
            mounted.unmount()
            remove(folder)

    @contextlib.contextmanager
    def tree(self, layers: Sequence[Layer]) -> Iterator[Tree]:
        """Yield layers' files as a source."""
        with self.mounted(layers, writable=False) as mounted:
            tree = Tree(str(mounted.root))
            try:
                yield tree
            finally:
                tree.close()

    def commit(self, mounted: Mounted) -> Layer | None:
        """Make a layer of what was written, None when nothing was. The mount is gone afterwards."""
        mounted.unmount()
        if mounted.upper is None or not mounted.is_changed():
            return None
        if self.request.epoch is not None:
            clamp_times(mounted.upper, self.request.epoch)
        return self.store.add_layer(mounted.upper, workers=self.workers)

    def keep(self, key: str, layer: Layer | None) -> Record:
        """Remember what a step has made."""
        record = Record(layer, self.now())
        self.cache.keep(key, record)
        return record

    def _remove_left_over(self) -> None:
        """Remove the scratch folders of builds that were killed."""
        import fcntl

        for path in self._folders.glob("*.lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path.with_suffix(""))
                path.unlink(missing_ok=True)
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)

    def _leave(self) -> None:
        remove(self.scratch)
        self.scratch.with_suffix(".lock").unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a folder and all in it, whatever its modes are."""

    def again(function: object, path: str, _: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(os.path.dirname(path), 0o700)
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o700)
                shutil.rmtree(path)
            else:
                os.unlink(path)

    shutil.rmtree(folder, onerror=again) if folder.is_dir() else None


def clamp_times(folder: Path, epoch: int) -> None:
    """Let nothing below be newer than `epoch`."""
    latest = epoch * 1_000_000_000
    for above, folders, files in os.walk(folder, topdown=False):
        for path in (*(os.path.join(above, name) for name in (*folders, *files)), above):
            found = os.lstat(path)
            if found.st_mtime_ns > latest:
                os.utime(path, ns=(latest, latest), follow_symlinks=False)
