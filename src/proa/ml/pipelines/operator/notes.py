"""What the operator, and not the planner, knows of a task's last attempt; added to what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proa.ml.pipelines.records import Caching, Task


@dataclass(slots=True)
class Notes:
    """Written as the attempt goes on."""

    attempt: int
    pod_name: str = ""
    caching: Caching | None = None
    exit_code: int | None = None
    log_uri: str = ""

    @classmethod
    def of(cls, task: Task) -> Notes:
        """Return what was recorded."""
        return cls(task.attempt, task.pod_name, task.caching, task.exit_code, task.log_uri)

    def add_to(self, task: Task) -> Task:
        """Return the task with these notes, if they are of its attempt."""
        if task.attempt != self.attempt:
            return task
        return replace(
            task, pod_name=self.pod_name, caching=self.caching, exit_code=self.exit_code, log_uri=self.log_uri
        )
