"""What a document says of caching is understood as whoever wrote it meant it."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.pipelines.ir.tasks import is_cache_refused

OFF: dict[str, Any] = {"cachingOptions": {}}
ON: dict[str, Any] = {"cachingOptions": {"enableCache": True}}


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ({"train": OFF, "exit-handler-1": OFF}, True),
        ({"train": OFF, "exit-handler-1": {}}, False),
        ({"train": OFF, "exit-handler-1": ON}, False),
        ({"train": ON}, False),
        ({}, False),
    ],
    ids=["enable_caching=False", "one step of the author's", "some", "none", "no tasks"],
)
def test_a_run_without_caching_is_told_from_a_task_without(tasks: dict[str, Any], expected: bool) -> None:
    assert is_cache_refused({"root": {"dag": {"tasks": tasks}}}) is expected
