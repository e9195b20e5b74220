"""Find a build's context: its folder, its Dockerfile, and what .dockerignore leaves out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from proa.builder.dockerfile.lines import MAX_BYTES
from proa.builder.ignore import BadPattern, Ignore, parse_ignore


@dataclass(frozen=True, slots=True)
class Context:
    """A folder, and what of it is left out."""

    directory: Path
    ignore: Ignore


class BadContext(Exception):
    """The context or its Dockerfile cannot be read; the words say which."""


def find_context(directory: str, dockerfile: str) -> tuple[Context, str, str]:
    """Return the context, the Dockerfile's text, and its path as people know it. `dockerfile` "-" is standard input."""
    if "://" in directory or directory.startswith("git@") or directory == "-":
        raise BadContext(f"{directory}: the context has to be a folder of this machine")
    folder = Path(directory)
    if not folder.is_dir():
        raise BadContext(f"{directory}: {'it is no folder' if folder.exists() else 'no such folder'}")
    if dockerfile == "-":
        text = sys.stdin.read(MAX_BYTES + 1)
        return Context(folder.resolve(), _read_ignore(folder / ".dockerignore")), text, "Dockerfile"
    path = Path(dockerfile) if dockerfile else folder / "Dockerfile"
    if not dockerfile and not path.exists() and (folder / "Containerfile").exists():
        path = folder / "Containerfile"
    text = _read_text(path)
    own = path.with_name(f"{path.name}.dockerignore")
    ignore = own if own.exists() else folder / ".dockerignore"
    return Context(folder.resolve(), _read_ignore(ignore)), text, str(path)


def _read_ignore(path: Path) -> Ignore:
    if not path.exists():
        return Ignore()
    try:
        return parse_ignore(_read_text(path))
    except BadPattern as error:
        raise BadContext(f"{path}: {error}") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode()
    except UnicodeDecodeError:
        raise BadContext(f"{path}: it is no text in UTF-8") from None
    except OSError as error:
        hint = ": name it with -f FILE" if isinstance(error, FileNotFoundError) else ""
        raise BadContext(f"{path}: {(error.strerror or str(error)).lower()}{hint}") from None
