"""Find out by trying whether `proa build` works here, and as whom: its namespaces, and layers laid on one another."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

from proa.builder.isolation import Level, NotIsolated, run_inside
from proa.builder.layers import Mounted, NoOverlay

_LEVELS = get_args(Level)
_NO_OVERLAY = 100


def probe(folder: Path) -> tuple[str, str]:
    """Return (level, "") where builds work with layers in `folder`, else ("", why not)."""

    def try_it(level: Level) -> int:
        try:
            mounted = Mounted(Path(place) / "stage", [], writable=True, userxattr=level != "root")
            mounted.unmount()
        except (NoOverlay, OSError):
            return _NO_OVERLAY
        return int(_LEVELS.index(level))

    with tempfile.TemporaryDirectory(prefix=".probe-", dir=folder) as place:
        try:
            code = run_inside(try_it)
        except NotIsolated as refusal:
            return "", str(refusal)
    if code == _NO_OVERLAY:
        return "", f"an overlay cannot be mounted in {folder}: try another --home"
    return _LEVELS[code], ""
