"""Say what is asked of a build, and what it tells while it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from proa.images.store import StoredImage


@dataclass(frozen=True, slots=True)
class Request:
    """A build. `epoch` is SOURCE_DATE_EPOCH, seconds since 1970; `secrets` are contents by id."""

    context: Path
    dockerfile: str
    dockerfile_path: str
    names: Sequence[str] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    use_cache: bool = True
    platform: str = ""
    epoch: int | None = None


class Progress(Protocol):
    """What a build tells whoever watches."""

    def begin(self, place: str, words: str) -> None:
        """A step begins: its place ("stage 2/5") and the instruction."""

    def output(self, data: bytes) -> None:
        """The step's program prints this."""

    def end(self, *, cached: bool) -> None:
        """The step has ended well."""

    def warn(self, words: str) -> None:
        """Something is not as it should be; the build goes on."""


GetImage = Callable[[str, str], StoredImage]
"""Return the image of a name and platform, pulled and unpacked where it is not here."""


class BuildFailed(Exception):
    """The build cannot go on. `line` is of the Dockerfile (0: none); `tail` is what the failed step printed last."""

    def __init__(self, message: str, line: int = 0, tail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.tail = tail
