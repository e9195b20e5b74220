"""ClusterIPs and node ports are handed out once, and come back when a write fails or an object goes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest

from proa.apiserver.address_ranges import AddressRange, PortRange
from proa.apiserver.app import ApiServer, ApiSettings
from proa.apiserver.claims import ADDRESSES, PORTS
from proa.apiserver.resources import DEFINITIONS
from proa.client.protocol import Request, User
from proa.objects.resource import SERVICES as SERVICES_RESOURCE
from proa.store.memory import MemoryStore
from proa.store.protocol import Entry, Unavailable

SERVICES = "/api/v1/namespaces/default/services"
ADMIN = User("admin", ("system:masters", "system:authenticated"))


def service(name: str, **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}, **spec}}


def node_ports(*ports: tuple[str, int]):
    return [
        {"name": f"p{n}", "port": 80 + n, "protocol": protocol, "nodePort": number}
        for n, (protocol, number) in enumerate(ports)
    ]


class TestRanges:
    def test_automatic_addresses_are_tried_once_each_and_the_low_ones_last(self):
        found = [*AddressRange("10.96.0.0/26").automatic(random.Random(1).randrange)]
        assert len(found) == len({*found}) == 62
        assert {int(address.rpartition(".")[2]) for address in found[-15:]} == set(range(1, 16))
        assert [*AddressRange("10.96.0.0/30").automatic(random.randrange)] in (
            ["10.96.0.1", "10.96.0.2"],
            ["10.96.0.2", "10.96.0.1"],
        )

    def test_automatic_ports_are_tried_once_each_and_the_low_ones_last(self):
        found = [*PortRange().automatic(random.Random(1).randrange)]
        assert {*found} == {*range(30000, 32768)}
        assert len(found) == 2768
        assert {*found[-86:]} == {*range(30000, 30086)}

    @pytest.mark.parametrize("wanted", ["10.97.0.1", "10.96.0.0", "10.96.0.7", "::1", "x"])
    def test_an_address_outside_of_the_range_is_refused(self, wanted):
        assert AddressRange("10.96.0.0/29").find(wanted) is None

    def test_ipv6_has_no_broadcast_address(self):
        addresses = AddressRange("fd00:10:96::/126")
        assert {*addresses.automatic(random.randrange)} == {f"fd00:10:96::{last}" for last in (1, 2, 3)}
        assert addresses.find("fd00:10:96:0::3") == "fd00:10:96::3"
        assert [addresses.find(wanted) for wanted in ("fd00:10:96::", "fd00:10:96::4", "10.96.0.1")] == [
            None
        ] * 3


BOTH = ApiSettings(service_cidr="10.96.0.0/16,fd00:10:96::/112")
FAMILIES = [
    ("nothing is asked for", {}, "SingleStack", ["IPv4"]),
    ("preferred", {"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4", "IPv6"]),
    ("required", {"ipFamilyPolicy": "RequireDualStack"}, "RequireDualStack", ["IPv4", "IPv6"]),
    (
        "IPv6 first",
        {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]},
        "PreferDualStack",
        ["IPv6", "IPv4"],
    ),
    ("IPv6 only", {"ipFamilies": ["IPv6"]}, "SingleStack", ["IPv6"]),
    ("an IPv6 address", {"clusterIP": "fd00:10:96::7"}, "SingleStack", ["IPv6"]),
]
WRONG = [
    (
        {"ipFamilyPolicy": "RequireDualStack"},
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack '
        "services",
    ),
    ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
    (
        {"clusterIP": "fd00::1"},
        'spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster',
    ),
    (
        {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]},
        "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' "
        "when multiple IP families are specified",
    ),
]


class TestFamilies:
    @pytest.mark.parametrize(
        ("_name", "spec", "policy", "families"), FAMILIES, ids=[case[0] for case in FAMILIES]
    )
    def test_a_service_has_an_address_of_each_of_its_families(self, api, _name, spec, policy, families):
        api.server = ApiServer(MemoryStore(), DEFINITIONS, BOTH)
        api.post("/api/v1/namespaces", {"metadata": {"name": "default"}})
        made = api.post(SERVICES, service("a", **spec)).json["spec"]
        assert (made["ipFamilyPolicy"], made["ipFamilies"]) == (policy, families)
        assert ["IPv6" if ":" in ip else "IPv4" for ip in made["clusterIPs"]] == families
        assert made["clusterIP"] == made["clusterIPs"][0]

    @pytest.mark.parametrize(("spec", "why"), WRONG)
    def test_a_cluster_of_one_family_gives_no_other(self, api, spec, why):
        assert api.post(SERVICES, service("a", **spec)).message == f'Service "a" is invalid: {why}'
        preferred = api.post(SERVICES, service("b", ipFamilyPolicy="PreferDualStack"))
        assert preferred.json["spec"]["ipFamilies"] == ["IPv4"]

    def test_a_second_family_comes_and_goes(self, api):
        api.server = ApiServer(MemoryStore(), DEFINITIONS, BOTH)
        api.post("/api/v1/namespaces", {"metadata": {"name": "default"}})
        before = api.post(SERVICES, service("a")).json
        spec = {**before["spec"], "ipFamilyPolicy": "PreferDualStack"}
        both = api.put(f"{SERVICES}/a", {**before, "spec": spec}).json
        assert both["spec"]["clusterIPs"][0] == before["spec"]["clusterIP"]
        second = both["spec"]["clusterIPs"][1]
        fewer = {**both["spec"], "clusterIPs": both["spec"]["clusterIPs"][:1]}
        refused = api.put(f"{SERVICES}/a", {**both, "spec": fewer})
        assert "must be 'SingleStack' to release the secondary cluster IP" in refused.message
        single = {**both["spec"], "ipFamilyPolicy": "SingleStack"}
        after = api.put(f"{SERVICES}/a", {**both, "spec": single}).json["spec"]
        assert (after["clusterIPs"], after["ipFamilies"]) == (before["spec"]["clusterIPs"], ["IPv4"])
        assert api.post(SERVICES, service("b", clusterIP=second)).status == 201


class TestThroughTheApi:
    def test_a_balancer_that_keeps_to_nodes_pods_has_a_port_to_ask_them(self, api):
        local = service("a", type="LoadBalancer", externalTrafficPolicy="Local")
        made = api.post(SERVICES, local).json
        port = made["spec"]["healthCheckNodePort"]
        assert port in range(30000, 32768)
        taken = service("b", type="NodePort", ports=node_ports(("TCP", port)))
        assert "provided port is already allocated" in api.post(SERVICES, taken).message
        spec = {**made["spec"], "externalTrafficPolicy": "Cluster"}
        changed = api.put(f"{SERVICES}/a", {**made, "spec": spec}).json
        assert "healthCheckNodePort" not in changed["spec"]
        assert api.post(SERVICES, taken).status == 201

    def test_an_address_that_is_taken_is_refused_with_its_field(self, api):
        assert api.post(SERVICES, service("a", clusterIP="10.96.0.7")).status == 201
        answer = api.post(SERVICES, service("b", clusterIP="10.96.0.7"))
        assert answer.status == 422
        assert answer.message == (
            'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.7"]: failed to allocate IP 10.96.0.7: '
            "provided IP is already allocated"
        )

    def test_a_port_that_is_taken_or_out_of_range_is_refused_with_its_field(self, api):
        taken = node_ports(("TCP", 30080))
        assert api.post(SERVICES, service("a", type="NodePort", ports=taken)).status == 201
        answer = api.post(
            SERVICES, service("b", type="NodePort", ports=node_ports(("TCP", 30081), ("UDP", 30080)))
        )
        assert answer.message == (
            'Service "b" is invalid: spec.ports[1].nodePort: Invalid value: 30080: provided port is already allocated'
        )
        answer = api.post(SERVICES, service("b", type="NodePort", ports=node_ports(("TCP", 80))))
        assert "The range of valid ports is 30000-32767" in answer.message
        assert (
            api.post(SERVICES, service("b", type="NodePort", ports=node_ports(("TCP", 30081)))).status == 201
        )

    def test_a_service_may_have_one_port_for_two_protocols(self, api):
        ports = node_ports(("TCP", 30080), ("UDP", 30080))
        assert api.post(SERVICES, service("a", type="NodePort", ports=ports)).status == 201
        assert api.store.count(PORTS) == 1

    def test_who_has_an_address_is_in_an_object(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        found = api.get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.7").json
        assert found["metadata"]["labels"] == {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }
        assert found["spec"]["parentRef"] == {"name": "a", "namespace": "default", "resource": "services"}
        assert found["metadata"]["managedFields"][0]["manager"] == "kube-apiserver"
        listed = api.get("/apis/networking.k8s.io/v1/ipaddresses").json["items"]
        assert [item["metadata"]["uid"] for item in listed] == [found["metadata"]["uid"]]

    def test_an_address_object_that_somebody_else_has_made_takes_the_address(self, api):
        parent = {"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "n", "name": "g"}
        body = {"metadata": {"name": "10.96.0.7"}, "spec": {"parentRef": parent}}
        assert api.post("/apis/networking.k8s.io/v1/ipaddresses", body).status == 201
        assert api.post(SERVICES, service("a", clusterIP="10.96.0.7")).status == 422

    def test_a_range_is_handed_out_whole_and_then_is_full(self, make_api):
        api = make_api(ApiSettings(service_cidr="10.96.0.0/29"))
        api.post("/api/v1/namespaces", {"metadata": {"name": "default"}})
        given = {api.post(SERVICES, service(f"s{n}")).json["spec"]["clusterIP"] for n in range(6)}
        assert given == {f"10.96.0.{n}" for n in range(1, 7)}
        answer = api.post(SERVICES, service("s6"))
        assert (answer.status, answer.message) == (
            500,
            "Internal error occurred: failed to allocate a serviceIP: range is full",
        )
        api.delete(f"{SERVICES}/s3")
        assert api.post(SERVICES, service("s6")).status == 201

    def test_a_refused_service_takes_nobodys_address(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.7", ports=[])).status == 422
        assert api.post(SERVICES, service("c", clusterIP="10.96.0.7")).status == 422

    def test_a_write_that_fails_takes_nothing(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        assert api.post(SERVICES, service("a", clusterIP="10.96.0.8")).status == 409
        assert api.post(f"{SERVICES}?dryRun=All", service("b", clusterIP="10.96.0.8")).status == 201
        assert api.store.count(ADDRESSES) == 1
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.8")).status == 201

    def test_a_deleted_service_gives_back_what_it_had(self, api):
        body = service("a", clusterIP="10.96.0.7", type="NodePort", ports=node_ports(("TCP", 30080)))
        assert api.post(SERVICES, body).status == 201
        assert api.delete(f"{SERVICES}/a").status == 200
        assert api.store.count(ADDRESSES) + api.store.count(PORTS) == 0
        assert api.post(SERVICES, body).status == 201

    def test_a_changed_service_gives_back_what_it_has_no_more(self, api):
        api.post(SERVICES, service("a", type="NodePort", ports=node_ports(("TCP", 30080), ("TCP", 30081))))
        found = api.get(f"{SERVICES}/a").json
        found["spec"]["ports"] = node_ports(("TCP", 30081), ("TCP", 30082))
        assert api.put(f"{SERVICES}/a", found).status == 200
        assert [e.key for e in api.store.range(PORTS).entries] == [f"{PORTS}30081", f"{PORTS}30082"]
        gone = {
            "spec": {
                "type": "ExternalName",
                "externalName": "a.b",
                "ports": None,
                "clusterIP": "",
                "clusterIPs": None,
            }
        }
        assert api.patch(f"{SERVICES}/a", gone).status == 200
        assert api.store.count(ADDRESSES) + api.store.count(PORTS) == 0

    def test_a_generated_name_that_is_taken_leaves_the_claim_to_the_one_that_is_not(self, api, monkeypatch):
        names = iter(["web-1", "web-1", "web-2"])
        monkeypatch.setattr("proa.apiserver.registry.registry.generate_name", lambda base: next(names))
        for _ in range(2):
            body = service("")
            body["metadata"] = {"generateName": "web-"}
            assert api.post(SERVICES, body).status == 201
        owners = [
            orjson.loads(e.value)["spec"]["parentRef"]["name"] for e in api.store.range(ADDRESSES).entries
        ]
        assert sorted(owners) == ["web-1", "web-2"]


class TestAfterARestart:
    def test_what_is_stored_is_taken(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        api.server = ApiServer(api.store, DEFINITIONS)
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.7")).status == 422

    def test_what_an_older_server_has_left_without_claims_is_taken_and_then_claimed(self, api):
        body = service("a", clusterIP="10.96.0.7", type="NodePort", ports=node_ports(("TCP", 30080)))
        api.post(SERVICES, body)
        forget_claims(api.store)
        api.server = ApiServer(api.store, DEFINITIONS)
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.7")).status == 422
        taken = service("b", type="NodePort", ports=node_ports(("TCP", 30080)))
        assert api.post(SERVICES, taken).status == 422
        asyncio.run(api.server.catalog.repair_claims())
        assert api.store.get(f"{ADDRESSES}10.96.0.7") is not None
        assert api.store.get(f"{PORTS}30080") is not None
        api.delete(f"{SERVICES}/a")
        assert api.post(SERVICES, body).status == 201

    def test_what_an_older_server_has_left_without_claims_goes_with_its_service(self, api):
        api.post(SERVICES, service("a", clusterIP="10.96.0.7"))
        forget_claims(api.store)
        api.server = ApiServer(api.store, DEFINITIONS)
        api.delete(f"{SERVICES}/a")
        assert api.post(SERVICES, service("b", clusterIP="10.96.0.7")).status == 201

    def test_what_a_crash_left_without_an_owner_is_free_at_once(self, api):
        body = service("a", clusterIP="10.96.0.7", type="NodePort", ports=node_ports(("TCP", 30080)))
        api.post(SERVICES, body)
        asyncio.run(api.store.delete("/registry/core/services/default/a"))
        assert api.post(SERVICES, body).status == 422
        api.server = ApiServer(api.store, DEFINITIONS)
        assert api.post(SERVICES, body).status == 201
        asyncio.run(api.server.catalog.repair_claims())
        assert api.store.count(ADDRESSES) == 1

    def test_an_address_object_that_is_not_the_allocators_stays(self, api):
        body = {
            "metadata": {"name": "10.96.0.7"},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "gone"}},
        }
        api.post("/apis/networking.k8s.io/v1/ipaddresses", body)
        api.server = ApiServer(api.store, DEFINITIONS)
        asyncio.run(api.server.catalog.repair_claims())
        assert api.store.count(ADDRESSES) == 1


def forget_claims(store: MemoryStore) -> None:
    for prefix in (ADDRESSES, PORTS):
        for entry in store.range(prefix).entries:
            asyncio.run(store.delete(entry.key))


class SharedStore(MemoryStore):
    """A store that says that others write to it, takes its time, and may lose its answers."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.loses: set[str] = set()

    async def put(self, key: str, encode: Any, *, expected_revision: int | None = None) -> Entry:
        for _ in range(3):
            await asyncio.sleep(0)
        written = await super().put(key, encode, expected_revision=expected_revision)
        if key in self.loses:
            raise Unavailable("no answer")
        return written


class Two:
    """Two API servers on one store, with one clock."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.store = SharedStore()
        settings = ApiSettings(service_cidr="10.96.0.0/26")
        self.servers = [ApiServer(self.store, DEFINITIONS, settings, now=lambda: self.time) for _ in range(2)]

    async def post(self, server: int, body: Any, path: str = SERVICES) -> tuple[int, Any]:
        request = Request("POST", path, {}, {}, orjson.dumps(body), ADMIN)
        answer = await self.servers[server].handle(request)
        assert isinstance(answer.body, bytes)
        return answer.status, orjson.loads(answer.body)


@pytest.fixture
def two() -> Two:
    made = Two()
    asyncio.run(made.post(0, {"metadata": {"name": "default"}}, "/api/v1/namespaces"))
    return made


class TestSeveralServers:
    def test_services_that_are_made_at_once_never_get_the_same(self, two):
        async def main() -> list[tuple[int, Any]]:
            bodies = [service(f"s{n}", type="NodePort") for n in range(60)]
            return await asyncio.gather(*(two.post(n % 2, body) for n, body in enumerate(bodies)))

        made = asyncio.run(main())
        assert {status for status, _ in made} == {201}
        assert len({body["spec"]["clusterIP"] for _, body in made}) == 60
        assert len({body["spec"]["ports"][0]["nodePort"] for _, body in made}) == 60

    def test_one_of_those_who_ask_for_the_same_gets_it(self, two):
        async def main() -> list[tuple[int, Any]]:
            bodies = [service(f"s{n}", clusterIP="10.96.0.7") for n in range(6)]
            return await asyncio.gather(*(two.post(n % 2, body) for n, body in enumerate(bodies)))

        statuses = sorted(status for status, _ in asyncio.run(main()))
        assert statuses == [201, 422, 422, 422, 422, 422]
        assert two.store.count(ADDRESSES) == 1

    def test_of_services_of_one_name_one_is_made_and_the_others_leave_nothing(self, two):
        async def main() -> list[tuple[int, Any]]:
            return await asyncio.gather(*(two.post(n % 2, service("same")) for n in range(6)))

        made = asyncio.run(main())
        assert sorted(status for status, _ in made) == [201, 409, 409, 409, 409, 409]
        (given,) = [body["spec"]["clusterIP"] for status, body in made if status == 201]
        assert [entry.key for entry in two.store.range(ADDRESSES).entries] == [ADDRESSES + given]

    def test_what_may_have_been_stored_keeps_its_address_until_it_is_known_not_to_be(self, two):
        two.store.loses.add("/registry/core/services/default/a")
        assert asyncio.run(two.post(0, service("a", clusterIP="10.96.0.7")))[0] == 503
        assert asyncio.run(two.post(1, service("b", clusterIP="10.96.0.7")))[0] == 422
        two.time += 3600
        asyncio.run(two.servers[1].catalog.repair_claims())
        assert asyncio.run(two.post(1, service("b", clusterIP="10.96.0.7")))[0] == 422
        asyncio.run(two.store.delete("/registry/core/services/default/a"))
        asyncio.run(two.servers[1].catalog.repair_claims())
        assert asyncio.run(two.post(0, service("b", clusterIP="10.96.0.7")))[0] == 201

    def test_a_claim_without_an_owner_is_a_minute_old_before_it_is_given_back(self, two):
        asyncio.run(two.post(0, service("a", clusterIP="10.96.0.7")))
        asyncio.run(two.store.delete("/registry/core/services/default/a"))
        asyncio.run(two.servers[1].catalog.repair_claims())
        assert two.store.count(ADDRESSES) == 1
        two.time += 61
        asyncio.run(two.servers[1].catalog.repair_claims())
        assert two.store.count(ADDRESSES) == 0

    @pytest.mark.parametrize("seed", range(6))
    def test_whatever_is_done_at_once_there_is_one_claim_for_what_each_service_has(self, two, seed):
        chance = random.Random(seed)

        async def act(server: int) -> None:
            name, verb = (
                f"s{chance.randrange(6)}",
                chance.choice(["POST", "POST", "DELETE", "PATCH", "PATCH"]),
            )
            path = SERVICES if verb == "POST" else f"{SERVICES}/{name}"
            ports = [
                {"port": 80, **({"nodePort": 30000 + chance.randrange(4)} if chance.random() < 0.5 else {})}
            ]
            kind = chance.choice(["ClusterIP", "NodePort"])
            ip = {"clusterIP": f"10.96.0.{chance.randrange(1, 6)}"} if chance.random() < 0.4 else {}
            body: Any = service(name, type=kind, ports=ports, **ip)
            if verb == "PATCH":
                gone = {"type": "ExternalName", "externalName": "a.b", "clusterIP": "", "clusterIPs": None}
                spec = {"type": kind, "ports": ports, "externalName": None} if chance.random() < 0.6 else gone
                body = {"spec": spec}
            headers = {"content-type": "application/merge-patch+json"} if verb == "PATCH" else {}
            request = Request(verb, path, {}, headers, orjson.dumps(body), ADMIN)
            answer = await two.servers[server].handle(request)
            assert answer.status < 500

        async def main() -> None:
            for _ in range(40):
                await asyncio.gather(*(act(n % 2) for n in range(6)))

        asyncio.run(main())
        registry = two.servers[0].catalog.of(SERVICES_RESOURCE)
        held = [key for _, holding in registry.holdings() for key in holding.claims()]
        assert len(held) == len({*held})
        claimed = [entry.key for prefix in (ADDRESSES, PORTS) for entry in two.store.range(prefix).entries]
        assert sorted(claimed) == sorted(held)
