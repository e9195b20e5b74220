"""Make folders that are their owner's alone, in one system call where the folder above is there."""

from __future__ import annotations

import os
from pathlib import Path


def make_private(path: Path) -> None:
    """Make a folder, and what is missing above it; one that is there stays as it is."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(path, mode=0o700, exist_ok=True)
