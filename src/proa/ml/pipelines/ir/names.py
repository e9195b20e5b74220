"""Which names a pipeline may use: they become parts of paths, URIs, labels and keys, so none may lead elsewhere."""

from __future__ import annotations

import re

from proa.ml.pipelines.ir.problems import Problems
from proa.objects.validation import quote

MAX_LENGTH = 253
_PIPELINE = re.compile(
    r"(namespace/[a-z0-9.-]+/)?(pipeline/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
_TASK = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_. ]*[A-Za-z0-9_])?")
_VALUE = re.compile(r"\w[-\w. ]*")


def check_pipeline_name(name: str, path: str, problems: Problems) -> None:
    """Note a pipeline's name that is not upstream's (v2_template.go)."""
    if not name:
        problems.add(path, "name is empty")
    elif len(name) > MAX_LENGTH or not _PIPELINE.fullmatch(name):
        problems.add(
            path,
            f"{quote(name[:80])}: name should consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character",
        )


def check_task_key(name: str, path: str, problems: Problems) -> None:
    """Note a task's key that cannot stand in a task's path."""
    if len(name) > MAX_LENGTH or not _TASK.fullmatch(name):
        problems.add(path, f"a task's key must be letters, digits, '-', '_' or '.', at most {MAX_LENGTH}")


def check_value_name(name: str, path: str, problems: Problems) -> None:
    """Note a parameter's or artifact's name that cannot be a file's."""
    if len(name) > MAX_LENGTH or not _VALUE.fullmatch(name):
        problems.add(path, f"a name must be letters, digits, '_', '-' or '.', at most {MAX_LENGTH}")
