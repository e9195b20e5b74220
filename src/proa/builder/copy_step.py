"""Carry out COPY and ADD: find the sources, name what is in them for the cache, and put them into the stage's files."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from proa.builder import accounts, arguments, download
from proa.builder.archives import is_archive
from proa.builder.copying import CannotCopy, How, Target
from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.instructions import Copy
from proa.builder.dockerfile.lines import parse_heredoc
from proa.builder.ignore import BadPattern, Ignore
from proa.builder.layers import Mounted
from proa.builder.request import BuildFailed
from proa.builder.stage import Done, StageBuild
from proa.builder.tree import MissingSource, Tree
from proa.images.errors import ImageError


@dataclass(frozen=True, slots=True)
class _Source:
    """One thing to be copied: where it is, and below which folder of the target (--parents)."""

    tree: Tree
    path: str
    below: str = ""
    unpack: bool = False


def copy_step(build: StageBuild, instruction: Copy) -> Done:
    """Copy, or have it from the cache; raise BuildFailed."""
    target = build.absolute(build.expand(instruction.target, instruction))
    with contextlib.ExitStack() as stack:
        try:
            found = _find_sources(build, instruction, stack)
            exclude = Ignore(build.expand(pattern, instruction) for pattern in instruction.exclude)
            digests = [
                [s.tree.digest([s.path], exclude), posixpath.basename(s.path), s.below, s.unpack]
                for s in found
            ]
        except (MissingSource, BadPattern) as error:
            raise BuildFailed(f"{instruction.statement.keyword}: {error}", instruction.line) from error
        owner = build.expand(instruction.owner, instruction)
        mode = _parse_mode(build.expand(instruction.mode, instruction), instruction.line)
        inputs: list[object] = [
            "copy",
            target,
            owner,
            mode,
            instruction.link,
            list(instruction.exclude),
            digests,
        ]

        def make(mounted: Mounted, files: Target, root: int) -> None:
            if len(found) > 1 and not target.endswith("/") and not files.is_folder(target):
                raise CannotCopy(
                    f"When using {instruction.statement.keyword} with more than one source file, the destination "
                    "must be a directory and end with a /"
                )
            ids = accounts.find_owner(root, owner) if owner else None
            for source in found:
                _copy_one(build, source, target, files, How(ids, mode, exclude))

        return build.write(instruction, _words(build, instruction, target), inputs, make)


def _find_sources(build: StageBuild, instruction: Copy, stack: contextlib.ExitStack) -> list[_Source]:
    """Return what is to be copied, in order."""
    sources = build.sources
    from_name = instruction.source_stage
    tree: Tree | None = None
    heredocs = iter(instruction.heredocs)
    found: list[_Source] = []
    for written in instruction.sources:
        if parse_heredoc(written) is not None and instruction.heredocs:
            heredoc = next(heredocs)
            text = heredoc.content
            if heredoc.expand:
                text = arguments.expand(text, build.variables(), build.escape, instruction.line, quotes=False)
            held = stack.enter_context(sources.files({heredoc.name: text.encode()}))
            found.append(_Source(held, heredoc.name))
            continue
        source = build.expand(written, instruction)
        if instruction.is_add and download.is_url(source):
            found.append(_download(build, instruction, source, stack))
            continue
        if tree is None:
            if from_name:
                tree = stack.enter_context(sources.stage(from_name, build.stage.index, instruction.line))
            else:
                tree = stack.enter_context(sources.context())
        found += _in_tree(tree, source, instruction)
    return found


def _in_tree(tree: Tree, source: str, instruction: Copy) -> list[_Source]:
    pivot, dot, rest = source.partition("/./") if instruction.parents else ("", "", source)
    base = pivot.strip("/") if dot else ""
    found: list[_Source] = []
    for path in tree.glob(posixpath.join(base, rest) if dot else source):
        resolved = tree.resolve(path)
        below = ""
        if instruction.parents:
            relative = posixpath.relpath(path, base) if base else path
            is_folder = os.path.isdir(tree.at(resolved))
            below = relative if is_folder else posixpath.dirname(relative)
        unpack = instruction.is_add and instruction.unpack is not False and is_archive(tree.at(resolved))
        found.append(_Source(tree, resolved, below, unpack))
    return found


def _download(build: StageBuild, instruction: Copy, url: str, stack: contextlib.ExitStack) -> _Source:
    folder = build.workshop.new_folder()
    folder.mkdir(mode=0o755)
    checksum = build.expand(instruction.checksum, instruction)
    try:
        name = download.download(url, folder, checksum)
    except download.CannotDownload as error:
        raise BuildFailed(f"ADD: {error}", instruction.line) from error
    tree = Tree(str(folder), owned=False)
    stack.callback(tree.close)
    return _Source(tree, name, unpack=bool(instruction.unpack))


def _copy_one(build: StageBuild, source: _Source, target: str, files: Target, how: How) -> None:
    below = posixpath.join(target, source.below).rstrip("/") + "/" if source.below else target
    if not source.unpack:
        files.copy(source.tree, source.path, below, how)
        return
    try:
        folder = build.sources.unpack(Path(source.tree.at(source.path)))
    except ImageError as error:
        raise CannotCopy(f"{source.path} cannot be unpacked: {error}") from error
    tree = Tree(str(folder))
    try:
        files.copy(tree, "", below, how)
    finally:
        tree.close()


def _parse_mode(text: str, line: int) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"0?[0-7]{1,4}", text):
        raise DockerfileError(line, f"invalid chmod parameter: '{text}'; it should be octal, as 0755")
    return int(text, 8)


def _words(build: StageBuild, instruction: Copy, target: str) -> str:
    flags = [
        f"--{name}" + (f"={value}" if value is not None else "")
        for name, value in instruction.statement.flags
    ]
    sources = [build.expand(source, instruction) for source in instruction.sources]
    return " ".join([instruction.statement.keyword, *flags, *sources, target])
