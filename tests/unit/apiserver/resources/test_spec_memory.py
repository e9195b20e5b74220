"""Specs are judged once: whatever was asked before, the answer is the one that the rules give."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proa.apiserver.resources.core import spec_memory
from proa.apiserver.resources.core.pod_rules import _judge_spec, validate_pod_spec
from proa.apiserver.resources.core.pod_warnings import _spec_warnings, pod_warnings
from proa.apiserver.resources.core.spec_memory import once_a_spec

Object = dict[str, Any]

CONTAINERS: tuple[Object, ...] = (
    {},
    {"name": "Not-A-Name"},
    {"resources": {"limits": {"memory": "1500m"}}},
    {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
    {"ports": [{"containerPort": 80}, {"containerPort": 80}]},
    {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
)
EXTRAS: tuple[Object, ...] = (
    {},
    {"volumes": [{"name": "v", "emptyDir": {}}]},
    {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["x"]}}}}]},
    {"nodeSelector": {"beta.kubernetes.io/os": "linux"}},
    {"hostNetwork": True},
    {"dnsPolicy": "None"},
    {"priorityClassName": "Not A Class"},
    {"ephemeralContainers": [{"name": "c", "image": "i"}]},
    {"terminationGracePeriodSeconds": -1},
)
NAMES = ("a", "a-name-" + "x" * 245, "")


@st.composite
def specs(draw: st.DrawFn) -> Object:
    container = {"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}
    spec: Object = {"containers": [{**container, **draw(st.sampled_from(CONTAINERS))}]}
    spec |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}
    for extra in draw(st.lists(st.sampled_from(EXTRAS), max_size=2)):
        spec |= extra
    return spec


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(specs(), st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=6))
@example([({"containers": []}, "", False)] * 2)
def test_what_was_judged_before_changes_no_answer(asked: list[tuple[Object, str, bool]]) -> None:
    for spec, name, is_pod in [*asked, *asked]:
        for field in ("spec", "spec.template.spec"):
            said = validate_pod_spec(spec, field, name if is_pod else "", is_pod=is_pod)
            assert said == _judge_spec(spec, field, name if is_pod else "", is_pod)
        assert pod_warnings({"spec": spec}) == list(_spec_warnings(spec, "spec"))


def test_a_spec_with_nothing_to_say_of_is_judged_once_and_one_with_remarks_each_time() -> None:
    judged: list[Object] = []

    def judge(spec: Object, field: str) -> list[str]:
        judged.append(spec)
        return [f"{field} is odd"] if "odd" in spec else []

    ask = once_a_spec(judge)

    assert [ask({"a": 1}, "x"), ask({"a": 1}, "x"), ask({"a": 1}, "y")] == [[], [], []]
    assert [ask({"odd": 1}, "x"), ask({"odd": 1}, "x")] == [["x is odd"], ["x is odd"]]
    assert judged == [{"a": 1}, {"a": 1}, {"odd": 1}, {"odd": 1}]


def test_long_specs_and_those_that_no_store_takes_are_judged_each_time() -> None:
    judged: list[Object] = []
    ask = once_a_spec(lambda spec: judged.append(spec) or [])
    long, impossible = {"a": "x" * spec_memory.MAX_BYTES}, {"a": 2**70}

    for spec in (long, long, impossible, impossible):
        assert ask(spec) == []

    assert judged == [long, long, impossible, impossible]
