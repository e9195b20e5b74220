"""What is right and wrong with kinds of storage, runtimes and flow control."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.resources.flowcontrol.system_objects import (
    MANDATORY_FLOW_SCHEMAS,
    MANDATORY_PRIORITY_LEVELS,
    SUGGESTED_FLOW_SCHEMAS,
    SUGGESTED_PRIORITY_LEVELS,
)

Object = dict[str, Any]


def make(api_version: str, kind: str, name: str = "x", **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def storage(kind: str, **fields: Any) -> Object:
    return make("storage.k8s.io/v1", kind, **fields)


def flow(kind: str, name: str = "x", **spec: Any) -> Object:
    return make("flowcontrol.apiserver.k8s.io/v1", kind, name, spec=spec)


def make_attachment(**spec: Any) -> Object:
    given = {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "p"}, **spec}
    return storage("VolumeAttachment", spec=given)


def make_level(**limited: Any) -> Object:
    given = {"limitResponse": {"type": "Queue", "queuing": {}}, **limited}
    return flow("PriorityLevelConfiguration", type="Limited", limited=given)


def make_schema(*rules: Object, **spec: Any) -> Object:
    return flow("FlowSchema", rules=list(rules), **{"priorityLevelConfiguration": {"name": "p"}, **spec})


USER = {"kind": "User", "user": {"name": "u"}}
ANYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True}
RULES: list[tuple[Object, list[str]]] = [
    (storage("CSIDriver", spec={}), []),
    (
        storage("CSIDriver", spec={"volumeLifecycleModes": ["Short"]}),
        [
            'spec.volumeLifecycleModes: Unsupported value: "Short": supported values: "Persistent", "Ephemeral"'
        ],
    ),
    (
        storage("CSIDriver", spec={"tokenRequests": [{"audience": "a", "expirationSeconds": 5}]}),
        [
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 "
            "minutes"
        ],
    ),
    (
        storage("CSIDriver", spec={"tokenRequests": [{"audience": "a"}, {"audience": "a"}]}),
        ['spec.tokenRequests[1].audience: Duplicate value: "a"'],
    ),
    (storage("CSINode", spec={"drivers": [{"name": "a.b", "nodeID": "1"}]}), []),
    (
        storage("CSINode", spec={"drivers": [{"name": "a.b"}]}),
        ["spec.drivers[0].nodeID: Required value"],
    ),
    (storage("CSIStorageCapacity", storageClassName="fast", capacity="1Gi"), []),
    (
        storage("CSIStorageCapacity", storageClassName="fast", capacity="-1"),
        ['capacity: Invalid value: "-1": must be greater than or equal to 0'],
    ),
    (make_attachment(), []),
    (
        make_attachment(source={}),
        [
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        ],
    ),
    (
        storage("VolumeAttributesClass", driverName="a.b"),
        ["parameters: Required value: must contain at least one key/value pair"],
    ),
    (make("node.k8s.io/v1", "RuntimeClass", handler="runc"), []),
    (
        make("node.k8s.io/v1", "RuntimeClass", handler="run.c"),
        ['handler: Invalid value: "run.c": must not contain dots'],
    ),
    (
        make(
            "node.k8s.io/v1",
            "RuntimeClass",
            handler="runc",
            scheduling={"tolerations": [{"operator": "Equal"}]},
        ),
        [
            'scheduling.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is '
            'empty, which means "match all values and all keys"'
        ],
    ),
    (make_level(), []),
    (
        flow("PriorityLevelConfiguration", type="Limited"),
        ["spec.limited: Required value: must not be empty when type is Limited"],
    ),
    (
        make_level(limitResponse={"type": "Queue", "queuing": {"queues": 4, "handSize": 5}}),
        [
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)"
        ],
    ),
    (
        make_level(limitResponse={"type": "Queue", "queuing": {"queues": 1024, "handSize": 8}}),
        [
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 1024 "
            "and handSize 8 should not be greater than 60"
        ],
    ),
    (
        make_level(lendablePercent=101),
        ["spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"],
    ),
    (
        make_level(limitResponse={"type": "Reject", "queuing": {}}),
        [
            "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"
        ],
    ),
    (make_schema({"subjects": [USER], "resourceRules": [ANYTHING]}), []),
    (
        make_schema(matchingPrecedence=1),
        [
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"
        ],
    ),
    (
        make_schema({"subjects": [USER]}),
        [
            "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"
        ],
    ),
    (
        make_schema({"subjects": [{"kind": "User", "group": {"name": "g"}}], "resourceRules": [ANYTHING]}),
        [
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
        ],
    ),
    (
        make_schema({"subjects": [USER], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a*"]}]}),
        [
            'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*": wildcard can only do suffix '
            "matching"
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("obj", "expected"), RULES, ids=[f"{o['kind']}-{i}" for i, (o, _) in enumerate(RULES)]
)
def test_such_objects_are_accepted_or_refused_in_upstreams_words(
    kinds: Any, obj: Object, expected: list[str]
) -> None:
    assert kinds.problems(obj) == expected


def change(*path: str, to: Any) -> Any:
    def apply(obj: Object) -> None:
        for key in path[:-1]:
            obj = obj[key]
        obj[path[-1]] = to

    return apply


NODE = storage("CSINode", spec={"drivers": [{"name": "a.b", "nodeID": "1", "allocatable": {"count": 1}}]})
ALLOWED = [
    (NODE, change("spec", "drivers", to=[{"name": "a.b", "nodeID": "1", "allocatable": {"count": 2}}]), []),
    (NODE, change("spec", "drivers", to=[{"name": "a.b", "nodeID": "2"}]), ["spec.drivers"]),
    (make_attachment(), change("spec", "nodeName", to="other"), ["spec"]),
    (storage("CSIDriver", spec={}), change("spec", "attachRequired", to=False), ["spec.attachedRequired"]),
    (storage("CSIDriver", spec={}), change("spec", "podInfoOnMount", to=True), []),
    (
        storage("CSIStorageCapacity", storageClassName="fast"),
        change("storageClassName", to="slow"),
        ["storageClassName"],
    ),
    (
        storage("VolumeAttributesClass", driverName="a.b", parameters={"a": "b"}),
        change("parameters", to={"a": "c"}),
        ["parameters"],
    ),
    (make("node.k8s.io/v1", "RuntimeClass", handler="runc"), change("handler", to="crun"), ["handler"]),
]


@pytest.mark.parametrize(("obj", "edit", "fields"), ALLOWED)
def test_such_objects_keep_what_is_set_once(kinds: Any, obj: Object, edit: Any, fields: list[str]) -> None:
    assert [problem.partition(": ")[0] for problem in kinds.update_problems(obj, edit)] == fields


def test_a_csi_drivers_generation_counts_changes_of_what_nodes_must_know(kinds: Any) -> None:
    old = kinds.create(storage("CSIDriver", spec={}))
    new = {**old, "metadata": {**old["metadata"]}, "spec": {**old["spec"], "requiresRepublish": True}}
    kinds.definition_of("CSIDriver").prepare_update(new, old)
    assert new["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("obj", "row"),
    [
        (storage("CSIDriver", spec={}), ("x", True, False, False, "<unset>", False, "Persistent")),
        (NODE, ("x", 1)),
        (storage("CSIStorageCapacity", storageClassName="fast"), ("x", "fast", "<unset>")),
        (make_attachment(), ("x", "a.b", "p", "n", False)),
        (make_level(), ("x", "Limited", 30, 64, 8, 50)),
        (make_schema(distinguisherMethod={"type": "ByUser"}), ("x", "p", 1000, "ByUser", "<unknown>", "?")),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_kubectl_get_shows_such_objects_as_upstream_does(
    kinds: Any, obj: Object, row: tuple[Any, ...]
) -> None:
    assert tuple(kinds.definition_of(obj["kind"]).cells(kinds.create(obj), 0.0))[: len(row)] == row


@pytest.mark.parametrize(
    ("kind", "specs"),
    [
        ("FlowSchema", MANDATORY_FLOW_SCHEMAS | SUGGESTED_FLOW_SCHEMAS),
        ("PriorityLevelConfiguration", MANDATORY_PRIORITY_LEVELS | SUGGESTED_PRIORITY_LEVELS),
    ],
)
def test_what_every_cluster_has_is_whole_and_valid(kinds: Any, kind: str, specs: dict[str, Object]) -> None:
    for name, spec in specs.items():
        assert kinds.problems(flow(kind, name, **spec)) == []
        assert kinds.create(flow(kind, name, **spec))["spec"] == spec


def test_the_mandatory_ones_do_not_change(kinds: Any) -> None:
    schema = flow("FlowSchema", "exempt", **{**MANDATORY_FLOW_SCHEMAS["exempt"], "matchingPrecedence": 5})
    level = flow("PriorityLevelConfiguration", "catch-all", **SUGGESTED_PRIORITY_LEVELS["system"])
    assert kinds.problems(schema)[-1].endswith("spec of 'exempt' must equal the fixed value")
    assert kinds.problems(level)[-1].endswith("spec of 'catch-all' must equal the fixed value")
    exempt = {"type": "Exempt", "exempt": {"lendablePercent": 10, "nominalConcurrencyShares": 5}}
    assert kinds.problems(flow("PriorityLevelConfiguration", "exempt", **exempt)) == []
