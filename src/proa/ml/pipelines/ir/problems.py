"""What is wrong with a pipeline, and where: the one error that reading and checking raise."""

from __future__ import annotations

from collections.abc import Sequence

from proa.objects.quick_dataclass import dataclass

MAX_PROBLEMS = 50
"""So many are told at once; a document that has more is wrong in kind."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong at a place of the document, such as `root.dag.tasks[train].componentRef.name`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidPipeline(ValueError):
    """A document is no pipeline that can run; `problems` say why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("invalid pipeline: " + "; ".join(str(problem) for problem in self.problems))


class InvalidParameters(ValueError):
    """A run's parameters are not what its pipeline asks for."""


class Problems:
    """Problems as they are found; raises once there are too many."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, path: str, message: str) -> None:
        """Note one."""
        self.found.append(Problem(path, message))
        if len(self.found) >= MAX_PROBLEMS:
            self.found.append(Problem("", f"more than {MAX_PROBLEMS} problems: the rest is not told"))
            raise InvalidPipeline(self.found)

    def raise_any(self) -> None:
        """Raise InvalidPipeline where there is one."""
        if self.found:
            raise InvalidPipeline(self.found)
