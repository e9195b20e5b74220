"""Lay a stage's layers on one another, with a new one on top that catches what a step writes.

The new layer's folder is on the store's own file system, so it becomes a layer by being renamed. Lower layers are
named by short links: the kernel takes at most a page of options.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from proa.node.noded import linux

_OPTIONS = "redirect_dir=off,metacopy=off,index=off"


class NoOverlay(Exception):
    """Layers cannot be laid on one another here; the words say why."""


class Mounted:
    """A stage's files, mounted at `root`; what is written goes to `upper` (None: nothing can be)."""

    def __init__(self, folder: Path, lowers: Sequence[Path], *, writable: bool, userxattr: bool) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.upper = folder / "upper" if writable else None
        self._is_mounted = False
        folder.mkdir(mode=0o755)
        self.root.mkdir()
        self._mount(lowers, userxattr=userxattr)

    def _mount(self, lowers: Sequence[Path], *, userxattr: bool) -> None:
        distinct = list(
            dict.fromkeys(lowers)
        )  # overlayfs takes none twice; what is below its own copy shows nothing
        for number, lower in enumerate(distinct):
            (self.folder / f"{number}").symlink_to(lower)
        names = [str(number) for number in range(len(distinct))]
        if len(names) < (1 if self.upper else 2):  # an overlay needs something below, or two layers to show
            (self.folder / "empty").mkdir()
            names.append("empty")
            if self.upper is None and len(names) < 2:
                (self.folder / "empty2").mkdir()
                names.append("empty2")
        options = f"lowerdir={':'.join(names)}"
        if self.upper is not None:
            for name in ("upper", "work"):
                (self.folder / name).mkdir()
            os.chmod(self.upper, 0o755)  # noqa: S103
            options += ",upperdir=upper,workdir=work,volatile"
        options += ",userxattr" if userxattr else f",{_OPTIONS}"
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir(self.folder)
            linux.mount("overlay", "root", "overlay", linux.MS_NODEV, options)
        except OSError as error:
            why = f"an overlay cannot be mounted in {self.folder.parent} ({error.strerror})"
            raise NoOverlay(f"{why}: is it on an overlay itself? Try another --home") from error
        finally:
            os.fchdir(here)
            os.close(here)
        self._is_mounted = True

    def unmount(self) -> None:
        """Take the mount away; the folders stay."""
        if self._is_mounted:
            self._is_mounted = False
            linux.umount(str(self.root))

    def is_changed(self) -> bool:
        """Tell whether anything was written."""
        return self.upper is not None and any(os.scandir(self.upper))
