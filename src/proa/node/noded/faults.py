"""Write an unexpected error to noded's log (its standard error), with where it came from."""

from __future__ import annotations

import contextlib
import os


def log() -> None:
    """Write the error that is being handled; where the log takes nothing (a full disk) it goes unsaid."""
    import traceback  # 6 ms at start, for what should never be needed

    with contextlib.suppress(OSError):
        os.write(2, traceback.format_exc().encode())
