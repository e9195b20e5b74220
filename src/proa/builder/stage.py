"""Carry out one stage's instructions in order: each changes the configuration, or adds a layer, or both.

A stage is its layers and its configuration so far. Steps that write are looked up in the cache first (cache.py).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proa.builder import accounts, arguments, image_config
from proa.builder.arguments import Arguments
from proa.builder.built import Built
from proa.builder.cache import Record
from proa.builder.copying import CannotCopy, Target
from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.instructions import (
    Arg,
    Command,
    Copy,
    Healthcheck,
    Instruction,
    Listed,
    OnBuild,
    Pairs,
    Run,
    Text,
)
from proa.builder.dockerfile.stages import Stage
from proa.builder.layers import Mounted
from proa.builder.request import BuildFailed
from proa.builder.sources import Sources, chain
from proa.builder.workshop import Workshop
from proa.images.layers import Layer
from proa.node.noded.privileges import Identity, UnknownUser

_Make = Callable[[Mounted, Target, int], None]
"""Writes to a stage's files: its mount, the same as a target, a descriptor of its root."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a step has made, and what history says of it."""

    record: Record
    words: str
    cached: bool


_CarryOut = Callable[[], Done]


class StageBuild:
    """One stage on its way."""

    def __init__(
        self,
        workshop: Workshop,
        sources: Sources,
        stage: Stage,
        given: Arguments,
        escape: str,
        start: Built,
        place: str,
    ) -> None:
        self.workshop = workshop
        self.sources = sources
        self.stage = stage
        self.layers: list[Layer] = list(start.layers)
        self.config = start.config
        self.escape = escape
        self.args: dict[str, str] = {}
        self._given = given
        self._place = place
        self._number = 0
        self._count = 0
        self._command_is_own = False
        self._created = str(start.config.get("created") or image_config.timestamp(workshop.now()))

    def build(self, instructions: Sequence[Instruction]) -> Built:
        """Carry out the instructions; raise BuildFailed or DockerfileError."""
        self._count = sum(1 for one in instructions if _is_step(one))
        for instruction in instructions:
            self._carry_out(instruction)
        return Built(tuple(self.layers), self.config)

    # What instructions see

    def variables(self) -> dict[str, str]:
        """Return what `$NAME` means now: ENV before ARG."""
        return {**self.args, **image_config.environment(self.config)}

    def expand(self, text: str, instruction: Instruction) -> str:
        """Return a text with its variables replaced."""
        return arguments.expand(text, self.variables(), self.escape, instruction.line)

    def run_environment(self) -> dict[str, str]:
        """Return the variables of a step's program, without those that no layer depends on."""
        return self.variables()

    def proxies(self) -> Mapping[str, str]:
        """Return the variables that steps get besides."""
        return self._given.proxies()

    # Instructions

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Run():
                from proa.builder.run_step import run_step

                self._step(instruction, lambda: run_step(self, instruction))
            case Copy():
                from proa.builder.copy_step import copy_step

                self._step(instruction, lambda: copy_step(self, instruction))
            case Text() if instruction.statement.keyword == "WORKDIR":
                self._step(instruction, lambda: self._work_in(instruction))
            case Arg():
                self._take_arguments(instruction)
            case _:
                self._configure(instruction)
                self._add_history(_as_written(instruction), None)

    def _step(self, instruction: Instruction, carry_out: _CarryOut) -> None:
        self._number += 1
        progress = self.workshop.progress
        place = f"{self._place} {self._number}/{self._count}"
        progress.begin(place, instruction.statement.source)
        done = carry_out()
        progress.end(cached=done.cached)
        if done.record.layer is not None:
            self.layers.append(done.record.layer)
        self._add_history(done.words, done.record)

    def _take_arguments(self, instruction: Arg) -> None:
        for name, default in instruction.pairs:
            expanded = None if default is None else self.expand(default, instruction)
            value = self._given.value(self.expand(name, instruction), expanded)
            if value is not None:
                self.args[name] = value

    def _configure(self, instruction: Instruction) -> None:
        keyword = instruction.statement.keyword
        config = self.config
        match instruction:
            case Pairs():
                pairs = [
                    (self.expand(n, instruction), self.expand(v, instruction)) for n, v in instruction.pairs
                ]
                change = image_config.with_environment if keyword == "ENV" else image_config.with_labels
                self.config = change(config, pairs)
            case Command() if keyword == "SHELL":
                self.config = image_config.setting(config, "Shell", list(instruction.words))
            case Command() if keyword == "CMD":
                self._command_is_own = True
                self.config = image_config.with_command(
                    config, instruction.words, is_shell=instruction.is_shell
                )
            case Command():
                self.config = image_config.with_entrypoint(
                    config,
                    instruction.words,
                    is_shell=instruction.is_shell,
                    keep_command=self._command_is_own,
                )
            case Listed() if keyword == "EXPOSE":
                self.config = image_config.with_ports(config, self._ports(instruction))
            case Listed():
                paths = [self.expand(value, instruction) for value in instruction.values]
                self.config = image_config.with_volumes(config, paths)
            case Healthcheck():
                self.config = image_config.setting(config, "Healthcheck", dict(instruction.check))
            case OnBuild():
                triggers = [*(image_config.get(config, "OnBuild") or ()), instruction.text]
                self.config = image_config.setting(config, "OnBuild", triggers)
            case Text():
                self._configure_text(instruction)

    def _configure_text(self, instruction: Text) -> None:
        value = self.expand(instruction.value, instruction)
        match instruction.statement.keyword:
            case "USER":
                self.config = image_config.setting(self.config, "User", value)
            case "STOPSIGNAL":
                self.config = image_config.setting(self.config, "StopSignal", value)
            case "MAINTAINER":
                self.config = {**self.config, "author": instruction.value}

    def _ports(self, instruction: Listed) -> list[str]:
        words: list[str] = []
        for value in instruction.values:
            words += arguments.expand_words(value, self.variables(), self.escape, instruction.line)
        try:
            return image_config.parse_ports(words)
        except ValueError as error:
            raise DockerfileError(instruction.line, str(error)) from None

    def _work_in(self, instruction: Text) -> Done:
        path = image_config.working_directory(self.config, self.expand(instruction.value, instruction))
        self.config = image_config.setting(self.config, "WorkingDir", path)
        user = image_config.get(self.config, "User") or ""

        def make(mounted: Mounted, target: Target, root: int) -> None:
            identity = Identity({"username": user}, single_uid=False)
            identity.resolve(root)
            opened, _ = target.make_folders(path, (identity.uid, identity.gid) if user else None)
            os.close(opened)

        return self.write(instruction, f"WORKDIR {path}", ["workdir", path, user], make)

    def write(self, instruction: Instruction, words: str, inputs: list[object], make: _Make) -> Done:
        """Have `make` write to the stage's files, unless the cache knows what comes of these inputs."""
        key = self.key(*inputs)
        known = self.find(key)
        if known is not None:
            return Done(known, words, cached=True)
        with self.workshop.mounted(self.layers) as mounted:
            root = os.open(mounted.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            target = Target(root)
            try:
                make(mounted, target, root)
            except (accounts.NoSuchUser, UnknownUser, CannotCopy) as error:
                raise BuildFailed(str(error), instruction.line) from error
            except OSError as error:
                where = f": {error.filename}" if error.filename else ""
                raise BuildFailed(f"{error.strerror or error}{where}", instruction.line) from error
            finally:
                os.close(root)
            layer = self.workshop.commit(mounted)
        return Done(self.workshop.keep(key, layer), words, cached=False)

    # The cache

    def key(self, *inputs: object) -> str:
        """Return the name of a step with these inputs, on the layers so far."""
        request = self.workshop.request
        return self.workshop.cache.key(
            chain(self.layers), request.platform, request.epoch, self.workshop.single_uid, *inputs
        )

    def find(self, key: str) -> Record | None:
        """Return what the cache knows, where it may be asked."""
        return self.workshop.cache.find(key) if self.workshop.request.use_cache else None

    def _add_history(self, words: str, record: Record | None) -> None:
        """Add a line; what makes no layer is as old as what is below it, so that the same build is the same image."""
        if record is not None:
            self._created = image_config.timestamp(record.created)
        is_empty = record is None or record.layer is None
        self.config = image_config.with_history(self.config, words, self._created, is_empty=is_empty)

    def absolute(self, path: str) -> str:
        """Return a path in the stage as it is meant in WORKDIR; a `/` at its end stays."""
        found = image_config.working_directory(self.config, path)
        into = path == "" or path.endswith("/") or posixpath.basename(path) in (".", "..")
        return found.rstrip("/") + "/" if into else found


def _is_step(instruction: Instruction) -> bool:
    return isinstance(instruction, Run | Copy) or instruction.statement.keyword == "WORKDIR"


def _as_written(instruction: Instruction) -> str:
    return f"{instruction.statement.keyword} {instruction.statement.rest}"
