"""A patch that makes nonsense is refused as the patch's fault."""

from __future__ import annotations

from typing import Any

import pytest

from proa.objects.errors import Invalid
from proa.objects.schemas.load import schema_for_kind
from proa.objects.schemas.patched import check_patched, go_value

DEPLOYMENT = schema_for_kind("apps/v1", "Deployment")


def refusal(spec: Any, strictness: Any = "Warn", **patch: Any) -> str:
    with pytest.raises(Invalid) as refused:
        check_patched({"kind": "Deployment", "spec": spec}, DEPLOYMENT, strictness, **patch)
    return refused.value.message


def test_a_merge_patch_is_refused_with_the_whole_result() -> None:
    assert refusal({"replicas": "x"}) == (
        ' "" is invalid: patch: Invalid value: "{\\"kind\\":\\"Deployment\\",\\"spec\\":{\\"replicas\\":\\"x\\"}}": '
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    )


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"replicas": "x"}, "unrecognized type: int32"),
        ({"replicas": 1.5}, "cannot convert float64 to int32"),
        ({"template": "x"}, "cannot restore struct from: string"),
        ({"template": {"spec": {"containers": {}}}}, "cannot restore slice from map"),
        ({"selector": {"matchLabels": "x"}}, "cannot restore map from string"),
        ({"selector": {"matchLabels": {"a": 1}}}, "cannot convert int64 to string"),
        ({"paused": "yes"}, "unrecognized type: bool"),
    ],
)
def test_a_strategic_patch_is_refused_in_the_converters_words(spec: Any, complaint: str) -> None:
    assert refusal(spec, strategic_patch=b'{"a":1}') == (
        f' "" is invalid: patch: Invalid value: "map[a:1]": {complaint}'
    )


def test_unknown_fields_are_an_error_only_when_strict() -> None:
    def patched() -> dict[str, Any]:
        return {"kind": "Deployment", "spec": {"replicass": 1}}

    assert refusal(patched()["spec"], "Strict", strategic_patch=b"{}") == (
        ' "" is invalid: patch: Invalid value: "map[]": strict decoding error: unknown field "spec.replicass"'
    )
    warned = check_patched(patched(), DEPLOYMENT, "Warn")
    assert (warned.warnings, warned.obj["spec"]) == (('unknown field "spec.replicass"',), {})
    assert check_patched(patched(), DEPLOYMENT, "Ignore").warnings == ()


def test_what_the_patch_has_not_touched_is_not_looked_at_again() -> None:
    old: dict[str, Any] = {"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"of": "another time"}}
    new = {**old, "metadata": {"name": "a", "nobody": "knows"}, "status": {"replicas": 1, "no": "more"}}

    checked = check_patched(new, DEPLOYMENT, "Warn", b"{}", old)

    assert checked.warnings == ('unknown field "metadata.nobody"', 'unknown field "status.no"')
    assert checked.obj == {**old, "status": {"replicas": 1}}
    assert list(checked.obj) == list(new)
    assert old["metadata"] == {"name": "a"}


def test_values_are_printed_as_go_prints_them() -> None:
    assert go_value({"b": [1, None, True], "a": {"x": "y"}}) == "map[a:map[x:y] b:[1 <nil> true]]"
