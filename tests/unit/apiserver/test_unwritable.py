"""What a write to a status works on is the writer's own, as far as it may be changed."""

from __future__ import annotations

import copy
from typing import Any

from proa.apiserver.registry.unwritable import copy_for_status, keep_all_but_status


def test_a_copy_for_a_status_shares_only_what_the_old_object_keeps() -> None:
    old: dict[str, Any] = {
        "kind": "Pod",
        "metadata": {"name": "a", "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["e/f"]},
        "spec": {"nodeName": "n"},
        "status": {"conditions": [{"type": "Ready", "status": "False"}]},
    }
    before = copy.deepcopy(old)

    new = copy_for_status(old)
    assert new == old
    new["metadata"]["annotations"]["c"] = "changed"
    new["metadata"]["labels"].clear()
    new["metadata"]["finalizers"].append("g/h")
    new["status"]["conditions"][0]["status"] = "True"
    new["spec"] = {"nodeName": "changed"}
    keep_all_but_status(new, old)

    assert old == before
    assert new == {
        **old,
        "metadata": {**old["metadata"], "annotations": {"c": "changed"}, "finalizers": ["e/f", "g/h"]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_an_object_without_a_status_is_copied_without_one() -> None:
    old = {"kind": "Node", "metadata": {"name": "a"}}
    assert copy_for_status(old) == old
