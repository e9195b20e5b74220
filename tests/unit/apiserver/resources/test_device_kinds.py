"""What is right and wrong with device classes, claims and slices."""

from __future__ import annotations

from typing import Any

import pytest

Object = dict[str, Any]


def make(kind: str, **spec: Any) -> Object:
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}


def ask(name: str = "gpu", **exactly: Any) -> Object:
    return {"name": name, "exactly": {"deviceClassName": "c", **exactly}}


def make_claim(*requests: Object, **devices: Any) -> Object:
    return make("ResourceClaim", devices={"requests": list(requests), **devices})


def make_slice(*devices: Object, **spec: Any) -> Object:
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    return make(
        "ResourceSlice", **{"driver": "a.b", "nodeName": "n", "pool": pool, "devices": list(devices), **spec}
    )


IDENTIFIER = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    "characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is "
    "'[A-Za-z_][A-Za-z0-9_]*')"
)
REQUEST = "spec.devices.requests[0]"
DEVICE = "spec.devices[0]"
RULES: list[tuple[Object, list[str]]] = [
    (make_claim(ask()), []),
    (make_claim(ask(count=2)), []),
    (
        make_claim(ask(allocationMode="All", count=2)),
        [
            f"{REQUEST}.exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
        ],
    ),
    (
        make_claim({"name": "gpu"}),
        [f"{REQUEST}: Required value: exactly one of `exactly` or `firstAvailable` is required"],
    ),
    (make_claim(ask(), ask()), ['spec.devices.requests[1]: Duplicate value: "gpu"']),
    (
        make_claim(ask(), constraints=[{"requests": ["other"], "matchAttribute": "a.b/c"}]),
        [
            'spec.devices.constraints[0].requests[0]: Invalid value: "other": must be the name of a request in the '
            "claim or the name of a request and a subrequest separated by '/'"
        ],
    ),
    (
        make_claim(ask(), constraints=[{"matchAttribute": "c"}]),
        [
            'spec.devices.constraints[0].matchAttribute: Invalid value: "c": a fully qualified name must be a domain '
            "and a name separated by a slash"
        ],
    ),
    (make("DeviceClass", selectors=[{"cel": {"expression": "true"}}]), []),
    (make("DeviceClass", selectors=[{}]), ["spec.selectors[0].cel: Required value"]),
    (
        make("DeviceClass", extendedResourceName="gpu"),
        ['spec.extendedResourceName: Invalid value: "gpu": must be a valid extended resource name'],
    ),
    (make_slice({"name": "d", "attributes": {"model": {"string": "m"}}, "capacity": {"mem": {"value": "1Gi"}}}), []),
    (
        make_slice(nodeName=None),
        [
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` "
            "is required"
        ],
    ),
    (
        make_slice(allNodes=True),
        [
            'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, '
            "`perDeviceNodeSelection` is required, but multiple fields are set"
        ],
    ),
    (
        make_slice({"name": "d", "attributes": {"1": {"bool": True}}}),
        [f'{DEVICE}.attributes: Invalid value: "1": {IDENTIFIER}'],
    ),
    (
        make_slice({"name": "d", "attributes": {"v": {"version": "one"}}}),
        [
            f'{DEVICE}.attributes[v].version: Invalid value: "one": must be a string compatible with semver.org spec '
            "2.0.0"
        ],
    ),
    (
        make_slice({"name": "d", "capacity": {"mem": {"value": "1Gi", "requestPolicy": {"default": "1"}}}}),
        [f"{DEVICE}.capacity[mem].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
    ),
    (
        make_slice(
            {
                "name": "d",
                "allowMultipleAllocations": True,
                "capacity": {
                    "mem": {"value": "8", "requestPolicy": {"default": "3", "validRange": {"min": "2", "step": "2"}}}
                },
            }
        ),
        [
            f'{DEVICE}.capacity[mem].requestPolicy.validRange.step: Invalid value: "3": value is not a multiple of a '
            "given step (2) from (2)"
        ],
    ),
    (
        make_slice({"name": "d", "bindingConditions": ["ready"]}),
        [
            f"{DEVICE}.bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use "
            "bindingConditions"
        ],
    ),
    (
        make_slice({"name": "d", "allNodes": True}),
        [
            f"{DEVICE}: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if "
            "`perDeviceNodeSelection` is set to true in the ResourceSlice spec"
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("obj", "expected"), RULES, ids=[f"{o['kind']}-{i}" for i, (o, _) in enumerate(RULES)]
)
def test_devices_are_accepted_or_refused_in_upstreams_words(
    kinds: Any, obj: Object, expected: list[str]
) -> None:
    assert kinds.problems(obj) == expected


def test_a_request_is_for_one_device_unless_it_says_more(kinds: Any) -> None:
    tolerated = ask(tolerations=[{"key": "a"}])
    alternatives = {
        "name": "b",
        "firstAvailable": [{"name": "s", "deviceClassName": "c", "allocationMode": "All"}],
    }
    requests = kinds.create(make_claim(tolerated, alternatives))["spec"]["devices"]["requests"]
    exactly = requests[0]["exactly"]
    assert (exactly["allocationMode"], exactly["count"]) == ("ExactCount", 1)
    assert exactly["tolerations"] == [{"key": "a", "operator": "Equal"}]
    assert "count" not in requests[1]["firstAvailable"][0]


def test_what_is_off_by_default_goes(kinds: Any) -> None:
    device = {"name": "d", "attributes": {"a": {"bool": True, "strings": ["x"]}}}
    assert kinds.create(make_slice(device))["spec"]["devices"][0]["attributes"] == {"a": {"bool": True}}


RESULT = {"request": "gpu", "driver": "a.b", "pool": "p", "device": "d"}


class TestStatus:
    """What a claim got: given once, used by some, told of by drivers."""

    def problems(self, kinds: Any, status: Object, before: Object | None = None) -> list[str]:
        old = {**kinds.create(make_claim(ask())), "status": before or {}}
        new = {**old, "status": status}
        definition = kinds.definition_of("ResourceClaim")
        definition.prepare_status_update(new, old)
        return [f"{c.field}: {c.message}" for c in definition.validate_status_update(new, old)]

    def allocation(self, **result: Any) -> Object:
        return {"devices": {"results": [{**RESULT, **result}]}}

    def test_an_allocation_names_requests_of_the_claim(self, kinds: Any) -> None:
        assert self.problems(kinds, {"allocation": self.allocation()}) == []
        (problem,) = self.problems(kinds, {"allocation": self.allocation(request="other")})
        assert problem.startswith('status.allocation.devices.results[0].request: Invalid value: "other"')

    def test_an_allocation_does_not_change(self, kinds: Any) -> None:
        before = {"allocation": self.allocation()}
        (problem,) = self.problems(kinds, {"allocation": self.allocation(device="e")}, before)
        assert problem.startswith("status.allocation: Invalid value")

    def test_nobody_uses_what_is_not_there(self, kinds: Any) -> None:
        pod = {"resource": "pods", "name": "p", "uid": "u"}
        assert self.problems(kinds, {"reservedFor": [pod]}) == [
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
        ]

    def test_drivers_tell_of_allocated_devices_only(self, kinds: Any) -> None:
        told = {"driver": "a.b", "pool": "p", "device": "e"}
        assert self.problems(kinds, {"allocation": self.allocation(), "devices": [told]}) == [
            "status.devices[0]: Invalid value: a.b/p/e: must be an allocated device in the claim"
        ]

    def test_what_was_told_of_devices_that_are_given_back_is_forgotten(self, kinds: Any) -> None:
        told = {"driver": "a.b", "pool": "p", "device": "d"}
        before = {"allocation": self.allocation(), "devices": [told]}
        assert self.problems(kinds, {"devices": [told]}, before) == []


class TestOnTheServer:
    WHERE = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"

    def test_a_claim_shows_its_state(self, api: Any) -> None:
        made = api.post(self.WHERE, make_claim(ask()))
        assert (made.status, made.json["status"]) == (201, {})
        table = api.get(self.WHERE, accept="application/json;as=Table;v=v1;g=meta.k8s.io").json
        assert table["rows"][0]["cells"][:2] == ["x", "pending"]
        refused = api.patch(f"{self.WHERE}/x", {"spec": {"devices": {"requests": [ask("other")]}}})
        assert "spec: Invalid value" in refused.message

    def test_administrators_access_needs_a_namespace_for_it(self, api: Any) -> None:
        claim = make_claim(ask(adminAccess=True))
        refused = api.post(self.WHERE, claim)
        assert refused.status == 422
        assert (
            "spec.devices.requests[0].exactly.adminAccess: Forbidden: admin access to devices"
            in refused.message
        )
        labels = {"resource.kubernetes.io/admin-access": "true"}
        api.patch("/api/v1/namespaces/default", {"metadata": {"labels": labels}})
        assert api.post(self.WHERE, claim).status == 201

    def test_slices_are_selected_by_node_and_driver(self, api: Any) -> None:
        where = "/apis/resource.k8s.io/v1/resourceslices"
        assert api.post(where, make_slice()).status == 201
        found = [
            api.get(f"{where}?fieldSelector={q}").json["items"] for q in ("spec.nodeName=n", "spec.driver=c")
        ]
        assert [len(items) for items in found] == [1, 0]
