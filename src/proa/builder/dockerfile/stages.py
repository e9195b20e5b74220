"""Read a whole Dockerfile: the ARGs before the first FROM, then the stages, each with its name and instructions.

A stage is named by what is behind AS, or by its place (0, 1, …). Follows BuildKit's instructions.Parse.
"""

from __future__ import annotations

from dataclasses import dataclass

from proa.builder.dockerfile import lines
from proa.builder.dockerfile.errors import DockerfileError, did_you_mean
from proa.builder.dockerfile.instructions import Arg, From, Instruction, read

MAX_STAGES = 1000


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and what follows it."""

    index: int
    base: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """Its own name, else its place."""
        return self.base.stage or str(self.index)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A Dockerfile. `text` is as written, for messages."""

    text: str
    escape: str
    directives: dict[str, str]
    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]

    def find_stage(self, name: str, before: int | None = None) -> Stage | None:
        """Return the stage of this name or number, the last of those that have it; only those before `before`."""
        candidates = self.stages[: len(self.stages) if before is None else before]
        for stage in reversed(candidates):
            if stage.base.stage == name.lower():
                return stage
        return candidates[int(name)] if name.isdigit() and int(name) < len(candidates) else None

    def target(self, name: str) -> Stage:
        """Return the stage to build ("" is the last); raise DockerfileError."""
        if not name:
            return self.stages[-1]
        found = self.find_stage(name)
        if found is None:
            names = [stage.name for stage in self.stages]
            near = did_you_mean(name, names) or f"; there are {', '.join(names)}"
            raise DockerfileError(0, f"target stage {name!r} could not be found{near}")
        return found


def parse(text: str) -> Dockerfile:
    """Return the Dockerfile; raise DockerfileError."""
    split = lines.split(text)
    arguments: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    for statement in split.statements:
        instruction = read(statement, split.escape)
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            arguments.append(instruction)
        else:
            words = f"no build stage in current context: {statement.keyword} stands before the first FROM"
            raise DockerfileError(statement.line, words)
    if not stages:
        raise DockerfileError(0, "it has no FROM: the first instruction names what to build on")
    if len(stages) > MAX_STAGES:
        raise DockerfileError(0, f"it has {len(stages)} stages, more than {MAX_STAGES}")
    made = tuple(Stage(number, base, tuple(found)) for number, (base, found) in enumerate(stages))
    return Dockerfile(text, split.escape, split.directives, tuple(arguments), made)


def read_trigger(text: str, line: int) -> Instruction:
    """Return an instruction that a base image has in ONBUILD; raise DockerfileError."""
    split = lines.split(text)
    if len(split.statements) != 1:
        raise DockerfileError(line, f"ONBUILD trigger of the base image is not one instruction: {text!r}")
    instruction = read(split.statements[0], split.escape)
    if isinstance(instruction, From):
        raise DockerfileError(line, "FROM isn't allowed as an ONBUILD trigger")
    return instruction
