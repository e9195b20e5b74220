"""Go and client-go, as Debian's packages bring them: on the machine, or where programs/client_go/get.sh put them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path("usr/share/gocode")
BUILD_SECONDS = 1500
"""Nothing is built yet, and others are at work too."""


@dataclass(frozen=True)
class Go:
    """A Go that finds client-go."""

    root: Path
    sources: Path

    def build(self, program: Path, target: Path) -> None:
        """Compile a program, without modules and without the net."""
        environment = {
            **os.environ,
            "GOROOT": str(self.root),
            "GOPATH": str(self.sources),
            "GO111MODULE": "off",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-trimpath",
            "CGO_ENABLED": "0",
        }
        command = [str(self.root / "bin/go"), "build", "-o", str(target), str(program)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
        assert done.returncode == 0, done.stderr


def find_go() -> Go | None:
    """Return the newest Go that has client-go beside it, or None."""
    for top in _places():
        if (top / SOURCES / "src/k8s.io/client-go").is_dir():
            roots = sorted(top.glob("usr/lib/go-1.*/bin/go"), key=_version)
            if roots:
                return Go(roots[-1].parent.parent, top / SOURCES)
    return None


def _places() -> Iterator[Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    yield Path(cache) / "proa-go"
    yield Path("/")


def _version(binary: Path) -> int:
    return int(binary.parent.parent.name.removeprefix("go-1."))
