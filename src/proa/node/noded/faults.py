"""Write an unexpected error to noded's log (its standard error), with where it came from."""

from __future__ import annotations

import sys


def log() -> None:
    """Write the error that is being handled."""
    import traceback  # 6 ms at start, for what should never be needed

    traceback.print_exc(file=sys.stderr)
    sys.stderr.flush()
