"""Devices for claims: what is chosen, why nothing is, and that no device is ever given twice."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.objects.resource import DEVICE_CLASSES, RESOURCE_CLAIMS, RESOURCE_SLICES
from proa.objects.resource_claims import devices_taken
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Profile, Status
from proa.scheduler.plugins import default_plugins
from proa.scheduler.plugins.dynamic_resources_allocator import AllocationError, allocate
from proa.scheduler.plugins.dynamic_resources_effort import Effort, SelectorError
from proa.scheduler.plugins.dynamic_resources_pools import Device, Inventory, gather_pools
from proa.scheduler.plugins.dynamic_resources_selectors import matches
from proa.scheduler.pod_info import make_pod_info
from proa.scheduler.rankings import Rankings
from proa.scheduler.snapshot import Snapshot

from .conftest import make_node, make_pod

DRIVER = "gpu.example.com"
OURS = {"cel": {"expression": f'device.driver == "{DRIVER}"'}}
CLASSES: dict[str, Object] = {
    "gpu": {"metadata": {"name": "gpu"}, "spec": {"selectors": [OURS]}},
    "any": {
        "metadata": {"name": "any"},
        "spec": {"config": [{"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}]},
    },
}


def make_device(name: str, **rest: Any) -> Object:
    return {"name": name, **rest}


def make_slice(*devices: Object, name: str = "s", pool: str = "n1", count: int = 1, **place: Any) -> Object:
    spec = {"driver": DRIVER, "pool": {"name": pool, "generation": 1, "resourceSliceCount": count}}
    if "sharedCounters" not in place:
        spec["devices"] = [*devices]
    if not {"nodeSelector", "allNodes", "perDeviceNodeSelection", "nodeName"} & place.keys():
        place["nodeName"] = "n1"
    return {"metadata": {"name": name}, "spec": {**spec, **place}}


def exactly(name: str = "r", device_class: str = "gpu", **rest: Any) -> Object:
    return {"name": name, "exactly": {"deviceClassName": device_class, **rest}}


def select(expression: str) -> list[Object]:
    return [{"cel": {"expression": expression}}]


def make_claim(*requests: Object, name: str = "c", **devices: Any) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"devices": {"requests": [*requests], **devices}}}


def run(
    slices: list[Object], *claims: Object, taken: Any = (), effort: Effort | None = None
) -> list[Object] | None:
    pools = gather_pools(slices)
    held = {device.id for pool in pools for device in pool.devices if device.id.device in taken}
    return allocate(claims, make_node("n1"), pools, held, CLASSES, matches, effort or Effort())


def chosen(allocations: list[Object] | None) -> list[tuple[str, str]] | None:
    if allocations is None:
        return None
    return [(r["request"], r["device"]) for a in allocations for r in a["devices"]["results"]]


A, B, C = (make_device(name) for name in "abc")
BIG = make_device(
    "big", attributes={"model": {"string": "x"}, "numa": {"int": 1}}, capacity={"memory": {"value": "80Gi"}}
)
SMALL = make_device(
    "small", attributes={"model": {"string": "y"}, "numa": {"int": 1}}, capacity={"memory": {"value": "8Gi"}}
)
TINY = make_device(
    "tiny", attributes={"model": {"string": "y"}, "numa": {"int": 0}}, capacity={"memory": {"value": "1Gi"}}
)
TAINTED = make_device("tainted", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
MEMORY = f'device.capacity["{DRIVER}"].memory.compareTo(quantity("10Gi")) >= 0'
MODEL = f'device.attributes["{DRIVER}"].model == "y"'
SAME_NUMA = [{"matchAttribute": f"{DRIVER}/numa"}]
ALL = exactly(allocationMode="All")
TWO = {"name": "two", "deviceClassName": "gpu", "count": 2}
ONE = {"name": "one", "deviceClassName": "gpu"}
COUNTERS = make_slice(
    name="counters", count=2, sharedCounters=[{"name": "card", "counters": {"memory": {"value": "10Gi"}}}]
)


def part(name: str, memory: str) -> Object:
    consumed = [{"counterSet": "card", "counters": {"memory": {"value": memory}}}]
    return make_device(name, consumesCounters=consumed)


@pytest.mark.parametrize(
    ("slices", "claims", "taken", "expected"),
    [
        pytest.param([make_slice(A, B)], [make_claim(exactly())], "", [("r", "a")], id="the first that is free"),
        pytest.param([make_slice(A, B)], [make_claim(exactly())], "a", [("r", "b")], id="one is taken"),
        pytest.param([make_slice(A)], [make_claim(exactly())], "a", None, id="all are taken"),
        pytest.param([make_slice(A, B, C)], [make_claim(exactly(count=2))], "b", [("r", "a"), ("r", "c")], id="two"),
        pytest.param([make_slice(A, B)], [make_claim(exactly(count=3))], "", None, id="not so many"),
        pytest.param([make_slice(A, nodeName="n2")], [make_claim(exactly())], "", None, id="on another node"),
        pytest.param([make_slice(A, allNodes=True)], [make_claim(exactly())], "", [("r", "a")], id="on all nodes"),
        pytest.param(
            [make_slice(A, B)], [make_claim(exactly()), make_claim(exactly("q"), name="d")], "",
            [("r", "a"), ("q", "b")], id="two claims",
        ),
        pytest.param([make_slice(A, count=2)], [make_claim(exactly())], "", None, id="incomplete pool"),
        pytest.param(
            [make_slice(BIG, SMALL)], [make_claim(exactly(selectors=select(MODEL)))], "",
            [("r", "small")], id="attribute",
        ),
        pytest.param(
            [make_slice(SMALL, BIG)], [make_claim(exactly(selectors=select(MEMORY)))], "",
            [("r", "big")], id="capacity",
        ),
        pytest.param(
            [make_slice(TINY, BIG, SMALL)], [make_claim(exactly(count=2), constraints=SAME_NUMA)], "",
            [("r", "big"), ("r", "small")], id="backtracks until attributes match",
        ),
        pytest.param(
            [make_slice(SMALL, TINY, BIG)],
            [make_claim(exactly(count=2), constraints=[{"distinctAttribute": f"{DRIVER}/model"}])], "",
            [("r", "small"), ("r", "big")], id="attributes differ",
        ),
        pytest.param(
            [make_slice(A)], [make_claim(exactly(), constraints=SAME_NUMA)], "", None, id="no such attribute",
        ),
        pytest.param(
            [make_slice(SMALL, BIG)],
            [make_claim(exactly("one"), exactly("two", selectors=select(MODEL)))], "",
            [("one", "big"), ("two", "small")], id="gives back what a later request needs",
        ),
        pytest.param([make_slice(A, B)], [make_claim(ALL)], "", [("r", "a"), ("r", "b")], id="all"),
        pytest.param([make_slice(A, B)], [make_claim(ALL)], "b", None, id="not all are free"),
        pytest.param([make_slice()], [make_claim(ALL)], "", None, id="all of none"),
        pytest.param(
            [make_slice(A)], [make_claim({"name": "r", "firstAvailable": [TWO, ONE]})], "", [("r/one", "a")],
            id="the first alternative that there is",
        ),
        pytest.param([make_slice(A)], [make_claim(exactly(adminAccess=True))], "a", [("r", "a")], id="admin access"),
        pytest.param([make_slice(TAINTED)], [make_claim(exactly())], "", None, id="tainted"),
        pytest.param(
            [make_slice(TAINTED)], [make_claim(exactly(tolerations=[{"key": "k", "operator": "Exists"}]))], "",
            [("r", "tainted")], id="tolerated",
        ),
        pytest.param(
            [COUNTERS, make_slice(part("a", "6Gi"), part("b", "6Gi"), part("c", "4Gi"), count=2)],
            [make_claim(exactly(count=2))], "", [("r", "a"), ("r", "c")], id="parts share a card",
        ),
        pytest.param(
            [COUNTERS, make_slice(part("a", "6Gi"), part("b", "6Gi"), count=2)],
            [make_claim(exactly())], "a", None, id="the card is used up",
        ),
        pytest.param(
            [make_slice(SMALL, BIG)], [make_claim(exactly(capacity={"requests": {"memory": "10Gi"}}))], "",
            [("r", "big")], id="asks for capacity",
        ),
        pytest.param(
            [make_slice({**A, "nodeName": "n2"}, {**B, "nodeName": "n1"}, perDeviceNodeSelection=True)],
            [make_claim(exactly())], "", [("r", "b")], id="each device has its node",
        ),
    ],
)  # fmt: skip
def test_devices_are_chosen(slices: list[Object], claims: list[Object], taken: str, expected: Any) -> None:
    assert chosen(run(slices, *claims, taken=taken)) == expected


@pytest.mark.parametrize(
    ("slices", "claim", "message"),
    [
        pytest.param(
            [make_slice(A)], make_claim(exactly(device_class="no")),
            "claim default/c, request r: could not retrieve device class no: "
            'deviceclass.resource.k8s.io "no" not found',
            id="no class",
        ),
        pytest.param(
            [make_slice(A, count=2)], make_claim(exactly(allocationMode="All")),
            "claim default/c, request r: asks for all devices, "
            "but resource pool gpu.example.com/n1 is currently being updated",
            id="all of an incomplete pool",
        ),
        pytest.param([make_slice(A, A)], make_claim(exactly()), "invalid resource pools were encountered", id="twice"),
        pytest.param(
            [make_slice(A)], make_claim(exactly(count=33)),
            "claim default/c: number of requested devices 33 exceeds the claim limit of 32", id="too many",
        ),
        pytest.param(
            [make_slice(A)], make_claim(exactly(selectors=select('device.attributes["x"].missing == 1'))),
            "claim default/c: selector #0 on device gpu.example.com/n1/a: CEL runtime error: no such key: missing",
            id="no such attribute",
        ),
        pytest.param(
            [make_slice(*(make_device(f"d{i}", attributes={"u": {"int": i}}) for i in range(40)))],
            make_claim(exactly(count=16), constraints=[{"matchAttribute": f"{DRIVER}/v"}], name="ok"), "", id="quick",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_upstream_does(slices: list[Object], claim: Object, message: str) -> None:
    if not message:
        assert run(slices, claim) is None
        return
    with pytest.raises(AllocationError) as caught:
        run(slices, claim)
    assert str(caught.value) == message


@pytest.mark.parametrize("effort", [Effort(devices=1000), Effort(cost=1000)], ids=["devices", "expressions"])
def test_a_search_that_leads_nowhere_ends(effort: Effort) -> None:
    devices = [make_device(f"d{i}", attributes={"parity": {"int": i % 2}}) for i in range(60)]
    claim = make_claim(exactly(count=31), constraints=[{"matchAttribute": f"{DRIVER}/parity"}])
    with pytest.raises(AllocationError, match="timed out trying to allocate devices"):
        run([make_slice(*devices)], claim, effort=effort)


def test_a_node_looks_at_its_own_pools_and_at_those_of_many_nodes() -> None:
    selector = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}
    slices = [
        make_slice(A, name="1", pool="own"),
        make_slice(A, name="2", pool="other", nodeName="n2"),
        make_slice(A, name="3", pool="all", allNodes=True),
        make_slice(A, name="4", pool="some", nodeSelector=selector),
        make_slice(
            {**A, "nodeName": "n2"},
            {**B, "nodeName": "n1"},
            name="5",
            pool="each",
            perDeviceNodeSelection=True,
        ),
    ]
    assert [pool.name for pool in Inventory(slices).pools_for("n1")] == ["all", "each", "own", "some"]


def test_results_say_configuration_and_nodes() -> None:
    opaque = {"opaque": {"driver": DRIVER, "parameters": {"b": 2}}}
    claim = make_claim(
        exactly("one", "any", adminAccess=True), exactly("two"), config=[{"requests": ["two"], **opaque}]
    )
    (allocation,) = run([make_slice(A, B)], claim) or ()
    assert allocation["devices"]["results"] == [
        {"request": "one", "driver": DRIVER, "pool": "n1", "device": "a", "adminAccess": True},
        {"request": "two", "driver": DRIVER, "pool": "n1", "device": "b"},
    ]
    of_class = {"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}
    assert allocation["devices"]["config"] == [
        {"source": "FromClass", "requests": ["one"], **of_class},
        {"source": "FromClaim", "requests": ["two"], **opaque},
    ]
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    assert allocation["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [field]}]}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('device.attributes["gpu.example.com"].model == "x"', True),
        ('"model" in device.attributes["other.example.com"]', False),
        ('"other.example.com" in device.attributes', False),
        ('device.attributes["other.example.com"].?model.orValue("none") == "none"', True),
        ('device.capacity["gpu.example.com"].memory.isGreaterThan(quantity("1Gi"))', True),
        ('device.attributes["vendor.example.com"].version.isGreaterThan(semver("1.0.0"))', True),
        ('has(device.attributes["gpu.example.com"].numa)', True),
        ('cel.bind(a, device.attributes["gpu.example.com"], a.model == "x" && a.numa == 1)', True),
        ("[1, 2].exists(i, cel.bind(i, i + 1, i == 3)) && cel.bind(a, 1, cel.bind(b, a + 1, b)) == 2", True),
        ('device.attributes.exists(domain, domain == "gpu.example.com")', True),
    ],
)
def test_expressions_see_a_device(expression: str, expected: bool) -> None:
    attributes = {**BIG["attributes"], "vendor.example.com/version": {"version": "1.2.3"}}
    (pool,) = gather_pools([make_slice({**BIG, "attributes": attributes})])
    assert matches(expression, pool.devices[0], Effort()) is expected


def test_an_expression_that_gives_no_bool_is_refused() -> None:
    (pool,) = gather_pools([make_slice(A)])
    device: Device = pool.devices[0]
    with pytest.raises(SelectorError, match="CEL compile error"):
        matches("device.driver", device, Effort())


class World:
    """Two nodes, of which n1 has the devices a and b."""

    def __init__(self) -> None:
        client = FakeClient()
        self.informers = InformerFactory(client)
        self.snapshot = Snapshot()
        self.profile = Profile("test", default_plugins(client, self.informers, self.snapshot))
        self.rankings = Rankings(self.profile, self.snapshot, random.Random(1).random)
        for name in ("n1", "n2"):
            self.snapshot.set_node(make_node(name))
        for device_class in CLASSES.values():
            self.add(DEVICE_CLASSES, device_class)
        self.add(RESOURCE_SLICES, make_slice(A, B))

    def add(self, resource: Any, obj: Object) -> None:
        self.informers.informer(resource).wrote(
            {**obj, "metadata": {"resourceVersion": "1", **obj["metadata"]}}
        )

    def place(self, pod: Object) -> tuple[str, Any]:
        """Return the pod's node, counting its devices as taken; or "" and why there is none."""
        info = make_pod_info(pod)
        facts = self.profile.run_pre_filters(info)
        if isinstance(facts, Status):
            return "", facts.reasons[0]
        ranking = self.rankings.ranking_for(info, facts)
        node = ranking.best()
        if node is None:
            return "", dict(ranking.diagnose().reasons)
        assert self.profile.run_reserves(info, node, facts) is None
        return node.name, facts


GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def pod_with(*claims: str, name: str = "p") -> Object:
    return make_pod(name, resourceClaims=[{"name": c, "resourceClaimName": c} for c in claims])


def test_devices_are_taken_when_a_pod_is_placed_and_free_when_it_is_not_bound() -> None:
    world = World()
    for name in ("c1", "c2", "c3"):
        world.add(RESOURCE_CLAIMS, make_claim(exactly(), name=name))
    first, second, third = (pod_with(f"c{i}", name=f"p{i}") for i in (1, 2, 3))
    node, facts = world.place(first)
    assert node == "n1"
    assert world.place(second)[0] == "n1"
    assert world.place(third) == ("", {"cannot allocate all claims": 2})
    world.profile.run_unreserves(make_pod_info(first), facts)
    assert world.place(third)[0] == "n1"


@pytest.mark.parametrize(
    ("status", "changes", "expected"),
    [
        pytest.param(None, {}, 'resourceclaim "c" not found', id="missing"),
        pytest.param({}, GOING, 'resourceclaim "c" is being deleted', id="going"),
        pytest.param(
            {"allocation": {}, "reservedFor": [{"name": "x", "uid": str(i)} for i in range(256)]},
            {}, "resourceclaim in use", id="in use",
        ),
        pytest.param(
            {"allocation": {"nodeSelector": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n3"]}]}]}}},
            {}, {"resourceclaim not available on the node": 2}, id="elsewhere",
        ),
    ],
)  # fmt: skip
def test_claims_that_keep_a_pod_waiting(status: Any, changes: Any, expected: Any) -> None:
    world = World()
    if status is not None:
        claim = make_claim(exactly())
        claim = {**claim, "metadata": {**claim["metadata"], **changes}, "status": status}
        world.add(RESOURCE_CLAIMS, claim)
    assert world.place(pod_with("c")) == ("", expected)


def test_a_missing_class_and_a_claim_of_another_pod_are_told() -> None:
    world = World()
    world.add(RESOURCE_CLAIMS, make_claim(exactly(device_class="no")))
    assert world.place(pod_with("c")) == ("", "request r: device class no does not exist")
    world.add(RESOURCE_CLAIMS, make_claim(exactly(), name="d"))
    pod = make_pod("p", resourceClaims=[{"name": "x", "resourceClaimTemplateName": "t"}])
    waiting = world.profile.plugin("DynamicResources").pre_enqueue(pod)  # type: ignore[union-attr]
    assert waiting.reasons == ('pod "default/p": ResourceClaim not created yet',)
    pod["status"]["resourceClaimStatuses"] = [{"name": "x", "resourceClaimName": "d"}]
    why = "ResourceClaim default/d was not created for pod default/p (pod is not owner)"
    assert world.place(pod) == ("", why)


REQUESTS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(["ExactCount", "All"]), st.booleans()),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=6), st.lists(REQUESTS, min_size=1, max_size=6))
def test_no_device_is_ever_given_to_two_claims(numas: list[int], wanted: list[Any]) -> None:
    devices = [make_device(f"d{i}", attributes={"numa": {"int": numa}}) for i, numa in enumerate(numas)]
    pools = gather_pools([make_slice(*devices)])
    taken: set[Any] = set()
    for number, requests in enumerate(wanted):
        asked = [
            exactly(f"r{i}", count=count, allocationMode=mode) for i, (count, mode, _) in enumerate(requests)
        ]
        constraints = SAME_NUMA if any(same for _, _, same in requests) else []
        claim = make_claim(*asked, name=f"c{number}", constraints=constraints)
        try:
            found = allocate([claim], make_node("n1"), pools, taken, CLASSES, matches, Effort())
        except AllocationError:
            continue
        given_now = [device for allocation in found or () for device in devices_taken(allocation)]
        assert len(set(given_now)) == len(given_now)
        assert not taken.intersection(given_now)
        if constraints:
            assert len({numas[int(device.device[1:])] for device in given_now}) <= 1
        taken.update(given_now)
