"""The claims that tasks create and delete, and a run's workspace."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.pipelines.executor.claims import (
    find_claim_to_delete,
    is_made_by,
    make_claim,
    make_outputs,
    make_workspace_claim,
)
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.records import Values
from support.pipeline_steps import make_launch, make_run

ASKED: dict[str, Any] = {"access_modes": ["ReadWriteOnce"], "size": "5Gi"}


def claim_of(**inputs: Any) -> dict[str, Any]:
    return make_claim(make_run(), make_launch(inputs=Values({**ASKED, **inputs})))


def test_a_claim_is_what_its_task_asks_for() -> None:
    claim = claim_of(
        pvc_name="data",
        storage_class_name="fast",
        volume_name="v",
        annotations={"a": "b"},
        data_source={"kind": "X"},
    )

    assert (claim["metadata"]["name"], claim["metadata"]["annotations"]["a"]) == ("data", "b")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "fast",
        "volumeName": "v",
        "dataSource": {"kind": "X"},
    }
    assert make_outputs(claim).parameters == {"name": "data"}


def test_a_claim_is_known_again_by_the_task_that_made_it() -> None:
    run, launch = make_run(), make_launch(inputs=Values({**ASKED, "pvc_name_suffix": "-data"}))

    first, again = make_claim(run, launch), make_claim(run, launch)

    assert first == again
    assert first["metadata"]["name"].endswith("-data")
    assert is_made_by(first, run, launch)
    assert not is_made_by(first, make_run(id="r-2"), launch)


@pytest.mark.parametrize(
    ("given", "has_default", "expected"),
    [
        (None, False, "standard"),
        (None, True, None),
        ("", False, None),
        ("fast", True, "fast"),
        ("standard", False, "standard"),
        ("standard", True, None),
    ],
)
def test_storage_classes(given: str | None, has_default: bool, expected: str | None) -> None:
    inputs = ASKED if given is None else {**ASKED, "storage_class_name": given}

    claim = make_claim(make_run(), make_launch(inputs=Values(inputs)), has_default)

    assert claim["spec"].get("storageClassName") == expected


def test_a_named_volume_keeps_the_class_it_is_asked_for_with() -> None:
    inputs = {**ASKED, "storage_class_name": "standard", "volume_name": "v"}

    claim = make_claim(make_run(), make_launch(inputs=Values(inputs)), has_default_class=True)

    assert claim["spec"]["storageClassName"] == "standard"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"access_modes": ["Sometimes"]}, "access_modes"),
        ({"access_modes": []}, "access_modes"),
        ({"size": "much"}, "not a quantity"),
        ({"size": "-1Gi"}, "not a quantity"),
        ({"size": None}, "not a quantity"),
        ({"pvc_name": "a", "pvc_name_suffix": "-b"}, "at most one of"),
    ],
)
def test_what_makes_no_claim_is_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(StepFailed, match=message):
        claim_of(**inputs)


def test_a_task_that_deletes_needs_a_name() -> None:
    assert find_claim_to_delete(make_launch(inputs=Values({"pvc_name": "data"}))) == "data"
    with pytest.raises(StepFailed, match="pass the name"):
        find_claim_to_delete(make_launch())


def run_with(workspace: dict[str, Any] | None) -> Any:
    config = {"workspace": workspace} if workspace else {}
    return make_run(platform_spec={"platforms": {"kubernetes": {"pipelineConfig": config}}})


def test_a_workspace_goes_with_its_run() -> None:
    owner = {"kind": "Run", "name": "digits-x7", "uid": "u"}
    patch = {"pvcSpecPatch": {"storageClassName": "fast", "accessModes": ["ReadWriteMany"]}}

    claim = make_workspace_claim(run_with({"size": "1Gi", "kubernetes": patch}), owner)

    assert claim is not None
    assert claim["metadata"]["name"] == "digits-x7-kfp-workspace"
    assert claim["metadata"]["ownerReferences"] == [owner]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    assert make_workspace_claim(run_with(None), owner) is None
    with pytest.raises(StepFailed, match="size"):
        make_workspace_claim(run_with({"kubernetes": {}}), None)
