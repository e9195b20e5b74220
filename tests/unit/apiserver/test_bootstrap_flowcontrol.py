"""What flow control starts with, and the ServiceCIDR that addresses come from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.apiserver.bootstrap import ensure_service_cidr
from proa.apiserver.bootstrap_flowcontrol import AUTO_UPDATE, ensure_flow_control, plan
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import User

LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"


def make_client(api: Any) -> ApiClient:
    return ApiClient(LocalTransport(api.server.handle, User("system:apiserver", ("system:masters",))))


def start(api: Any) -> None:
    asyncio.run(ensure_flow_control(make_client(api)))


def test_the_first_start_makes_all_and_the_second_nothing(api: Any) -> None:
    start(api)
    schemas = api.get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas").json["items"]
    assert (len(schemas), len(api.get(LEVELS).json["items"])) == (11, 8)
    assert {schema["metadata"]["annotations"][AUTO_UPDATE] for schema in schemas} == {"true"}
    revision = api.store.revision
    start(api)
    assert api.store.revision == revision


def test_what_somebody_made_their_own_is_left_alone(api: Any) -> None:
    start(api)
    change = {"spec": {"limited": {"nominalConcurrencyShares": 77}}}
    api.patch(f"{LEVELS}/system", change)
    start(api)
    assert api.get(f"{LEVELS}/system").json["spec"]["limited"]["nominalConcurrencyShares"] == 30
    api.patch(f"{LEVELS}/system", {**change, "metadata": {"annotations": {AUTO_UPDATE: "false"}}})
    start(api)
    assert api.get(f"{LEVELS}/system").json["spec"]["limited"]["nominalConcurrencyShares"] == 77


SPEC = {"type": "Limited"}


@pytest.mark.parametrize(
    ("metadata", "is_restored"),
    [
        ({"annotations": {AUTO_UPDATE: "true"}, "generation": 5}, True),
        ({"annotations": {AUTO_UPDATE: "false"}, "generation": 1}, False),
        ({"generation": 1}, True),
        ({"generation": 2}, False),
    ],
)
def test_a_suggested_object_is_ours_until_it_is_changed(metadata: dict[str, Any], is_restored: bool) -> None:
    found = {"metadata": {"name": "system", **metadata}, "spec": {"type": "Other"}}
    decided = plan([found], {}, {"system": SPEC})
    assert [obj["spec"] for obj in decided.update] == ([SPEC] if is_restored else [])


def test_administrators_may_set_the_exempt_levels_shares() -> None:
    mandatory = {"exempt": {"type": "Exempt", "exempt": {"lendablePercent": 0}}}
    found = {"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {"lendablePercent": 9}}}
    assert plan([found], mandatory, {}) == ([], [])


def test_the_default_service_cidr_is_ready(api: Any) -> None:
    asyncio.run(ensure_service_cidr(make_client(api), "10.96.0.0/16"))
    found = api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").json
    (condition,) = found["status"]["conditions"]
    assert found["spec"] == {"cidrs": ["10.96.0.0/16"]}
    assert (condition["type"], condition["status"], condition["message"]) == (
        "Ready",
        "True",
        "Kubernetes default Service CIDR is ready",
    )
    revision = api.store.revision
    asyncio.run(ensure_service_cidr(make_client(api), "10.96.0.0/16"))
    assert api.store.revision == revision
