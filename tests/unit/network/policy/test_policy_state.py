"""A node's rules allow what NetworkPolicies say, after whatever has changed, and change no more than they must.

The reference reads the objects as k8s.io/api/networking/v1/types.go explains them, a question at a time; the model
carries out the changes and asks the rules, as the kernel does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from proa.network.policy.compiled import Block, Group, Ports, Rule, compile_policy
from proa.network.policy.members import Member, PodKey, read_pod
from proa.network.policy.state import Changes, Judged, Place, PolicyKey, PolicyState

NODE = "proa-1"
NAMESPACES = ("x", "y")
PODS = ("a", "b", "c")
OUTSIDE = ("192.0.2.7", "198.51.100.9")
PORTS = (("TCP", 80), ("TCP", 81), ("UDP", 80), ("SCTP", 9000))
Object = dict[str, Any]


# The reference


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions") or ():
        value, values = labels.get(one["key"]), one.get("values") or []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[one["operator"]]:
            return False
    return True


class Reference:
    """All objects; asked whether a packet passes."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Object] = {}
        self.pods: dict[PodKey, Object] = {}
        self.policies: dict[PolicyKey, Object] = {}

    def find(self, address: str) -> Object | None:
        return next((pod for pod in self.pods.values() if address == pod["status"].get("podIP")), None)

    def passes(self, direction: str, source: str, destination: str, protocol: str, port: int) -> bool:
        subject = self.find(destination if direction == "Ingress" else source)
        peer = source if direction == "Ingress" else destination
        if subject is None or source == destination:
            return True
        namespace = subject["metadata"]["namespace"]
        said = [
            policy
            for key, policy in self.policies.items()
            if key.namespace == namespace
            and matches(policy["spec"].get("podSelector") or {}, subject["metadata"].get("labels") or {})
            and direction in self.types_of(policy)
        ]
        return not said or any(
            self.allows(rule, direction, namespace, peer, destination, protocol, port)
            for policy in said
            for rule in policy["spec"].get(direction.lower()) or ()
        )

    @staticmethod
    def types_of(policy: Object) -> list[str]:
        if types := policy["spec"].get("policyTypes"):
            return list(types)
        return ["Ingress", "Egress"] if policy["spec"].get("egress") else ["Ingress"]

    def allows(
        self, rule: Object, direction: str, namespace: str, peer: str, target: str, protocol: str, port: int
    ) -> bool:
        peers = rule.get("from" if direction == "Ingress" else "to") or []
        if peers and not any(self.is_peer(one, namespace, peer) for one in peers):
            return False
        ports = rule.get("ports") or []
        return not ports or any(self.is_port(one, target, protocol, port) for one in ports)

    def is_peer(self, peer: Object, namespace: str, address: str) -> bool:
        if block := peer.get("ipBlock"):
            ip = ipaddress.ip_address(address)
            excluded = block.get("except") or ()
            return ip in ipaddress.ip_network(block["cidr"]) and not any(
                ip in ipaddress.ip_network(cidr) for cidr in excluded
            )
        if (pod := self.find(address)) is None:
            return False
        where = pod["metadata"]["namespace"]
        if (selector := peer.get("namespaceSelector")) is not None:
            if not matches(selector, self.namespaces.get(where, {})):
                return False
        elif where != namespace:
            return False
        return matches(peer.get("podSelector") or {}, pod["metadata"].get("labels") or {})

    def is_port(self, wanted: Object, target: str, protocol: str, port: int) -> bool:
        if (wanted.get("protocol") or "TCP") != protocol:
            return False
        number = wanted.get("port")
        if number is None:
            return True
        if isinstance(number, int):
            return number <= port <= wanted.get("endPort", number)
        if (pod := self.find(target)) is None:
            return False
        named = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
        return any((p["name"], p["protocol"], p["containerPort"]) == (number, protocol, port) for p in named)


# The model: what the kernel would hold


class Model:
    """Carries out changes, each of which must be possible where it comes."""

    def __init__(self) -> None:
        self.groups: dict[Group, set[Member]] = {}
        self.selections: set[Judged] = set()
        self.places: dict[Place, Judged] = {}

    def carry_out(self, changes: Changes) -> None:
        for group in changes.new_groups:
            assert group not in self.groups
            self.groups[group] = set()
        for group, members in changes.added.items():
            assert members
            assert not members & self.groups[group]
            self.groups[group] |= members
        for group, members in changes.removed.items():
            assert members
            assert members <= self.groups[group]
            self.groups[group] -= members
        for judged in changes.new_selections:
            assert judged not in self.selections
            self.selections.add(judged)
        for place, (was, now) in changes.places.items():
            assert self.places.get(place) == was != now
            if now is None:
                del self.places[place]
            else:
                assert now in self.selections
                self.places[place] = now
        for judged in changes.gone_selections:
            assert judged not in self.places.values()
            self.selections.remove(judged)
        for group in changes.gone_groups:
            del self.groups[group]
        for judged in self.selections:
            for rule in (rule for rules in judged.selection for rule in rules):
                asked = {*rule.named, *(p for p in rule.peers or () if not isinstance(p, Block))}
                assert asked <= self.groups.keys()

    def passes(self, direction: Any, source: str, destination: str, protocol: str, port: int) -> bool:
        place = Place(direction, destination if direction == "Ingress" else source)
        judged = self.places.get(place)
        if judged is None or source == destination:
            return True
        peer = source if direction == "Ingress" else destination
        asked = (direction, peer, Member(destination, protocol, port))
        return any(self.allows(rule, *asked) for rules in judged.selection for rule in rules)

    def allows(self, rule: Rule, direction: str, peer: str, target: Member) -> bool:
        ports = rule.ports is None or any(
            p.protocol == target.protocol and p.first <= target.port <= p.last for p in rule.ports
        )
        peers = [one for one in rule.peers or () if self.is_peer(one, peer)]
        if (rule.peers is None or peers) and ports:
            return True
        named = [one for one in rule.named if target in self.groups[one]]
        return bool(named) and (rule.peers is None or bool(peers))

    def is_peer(self, peer: Any, address: str) -> bool:
        if isinstance(peer, Block):
            ip = ipaddress.ip_address(address)
            return ip in peer.network and not any(ip in network for network in peer.excluded)
        return Member(address) in self.groups[peer]


# What changes

LABELS = st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from(("web", "db")), max_size=2)


@st.composite
def selectors(draw: Any) -> Object:
    found: Object = {}
    if draw(st.booleans()):
        found["matchLabels"] = draw(LABELS)
    if draw(st.booleans()):
        operator = draw(st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")))
        expression: Object = {"key": draw(st.sampled_from(("app", "tier"))), "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = draw(st.lists(st.sampled_from(("web", "db", "x")), min_size=1, max_size=2))
        found["matchExpressions"] = [expression]
    return found


@st.composite
def peers(draw: Any) -> Object:
    kind = draw(st.sampled_from(("pods", "namespaces", "both", "block")))
    if kind == "block":
        block: Object = {
            "cidr": draw(st.sampled_from(("0.0.0.0/0", "10.244.0.0/16", "192.0.2.0/24", "2001:db8::/32")))
        }
        if draw(st.booleans()) and ":" not in block["cidr"]:
            block["except"] = [draw(st.sampled_from(("10.244.1.2/31", "192.0.2.0/28", "198.51.100.0/24")))]
        return {"ipBlock": block}
    found: Object = {}
    if kind != "namespaces":
        found["podSelector"] = draw(selectors())
    if kind != "pods":
        found["namespaceSelector"] = draw(selectors())
    return found


@st.composite
def ports(draw: Any) -> Object:
    found: Object = {}
    if draw(st.booleans()):
        found["protocol"] = draw(st.sampled_from(("TCP", "UDP", "SCTP")))
    number = draw(st.sampled_from((None, 80, 81, 9000, "http", "other")))
    if number is not None:
        found["port"] = number
        if number == 80 and draw(st.booleans()):
            found["endPort"] = 9000
    return found


@st.composite
def policies(draw: Any) -> Object:
    spec: Object = {"podSelector": draw(selectors())}
    if draw(st.booleans()):
        spec["policyTypes"] = draw(st.sampled_from((["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    for direction, who in (("ingress", "from"), ("egress", "to")):
        if draw(st.booleans()):
            rules = []
            for _ in range(draw(st.integers(0, 2))):
                rule: Object = {}
                if draw(st.booleans()):
                    rule[who] = draw(st.lists(peers(), min_size=0, max_size=2))
                if draw(st.booleans()):
                    rule["ports"] = draw(st.lists(ports(), min_size=0, max_size=2))
                rules.append(rule)
            spec[direction] = rules
    return spec


@st.composite
def pods(draw: Any) -> Object:
    spec: Object = {"nodeName": draw(st.sampled_from((NODE, "proa-2"))), "containers": [{"name": "c"}]}
    if draw(st.integers(0, 9)) == 9:
        spec["hostNetwork"] = True
    if draw(st.booleans()):
        number = draw(st.sampled_from((80, 81)))
        spec["containers"][0]["ports"] = [{"name": "http", "protocol": "TCP", "containerPort": number}]
    return {
        "spec": spec,
        "labels": draw(LABELS),
        "phase": draw(st.sampled_from(("Running", "Running", "Succeeded"))),
    }


POD_KEYS = [(namespace, name) for namespace in NAMESPACES for name in PODS]
POLICY_KEYS = [(namespace, name) for namespace in NAMESPACES for name in "pq"]
MORE = st.lists(
    st.one_of(
        st.tuples(st.just("namespace"), st.sampled_from(NAMESPACES), st.none() | LABELS),
        st.tuples(st.just("pod"), st.sampled_from(POD_KEYS), st.none() | pods()),
        st.tuples(st.just("policy"), st.sampled_from(POLICY_KEYS), st.none() | policies()),
        st.tuples(st.just("again"), st.just(""), st.none()),
    ),
    max_size=6,
)


@st.composite
def operations(draw: Any) -> list[tuple[str, Any, Any]]:
    """Return everything that is made in some order, and what changes then."""
    made = [("namespace", name, draw(LABELS)) for name in NAMESPACES]
    made += [("pod", key, draw(pods())) for key in POD_KEYS]
    made += [("policy", key, draw(policies())) for key in POLICY_KEYS]
    return [*draw(st.permutations(made)), ("take", "", None), *draw(MORE)]


def address_of(key: tuple[str, str]) -> str:
    return f"10.244.{1 + NAMESPACES.index(key[0])}.{2 + PODS.index(key[1])}"


def make_pod(key: tuple[str, str], drawn: Object) -> Object:
    metadata = {"namespace": key[0], "name": key[1], "labels": drawn["labels"]}
    status = {"phase": drawn["phase"], "podIP": address_of(key), "podIPs": [{"ip": address_of(key)}]}
    return {"metadata": metadata, "spec": drawn["spec"], "status": status}


def judged_addresses(reference: Reference) -> Iterator[str]:
    yield from (address_of((namespace, name)) for namespace in NAMESPACES for name in PODS)
    yield from OUTSIDE


@settings(max_examples=40, phases=[Phase.generate], deadline=None, derandomize=True)
@given(operations())
def test_rules_allow_what_policies_say_after_any_changes(changes: list[tuple[str, Any, Any]]) -> None:
    reference, model, state = Reference(), Model(), PolicyState()
    for operation, key, value in changes:
        match operation:
            case "namespace":
                reference.namespaces[key] = value or {}
                state.set_namespace(key, value)
            case "pod":
                pod = make_pod(key, value) if value is not None else None
                known = read_pod(pod, NODE) if pod is not None else None
                state.set_pod(PodKey(*key), known)
                reference.pods.pop(PodKey(*key), None)
                if pod is not None and known is not None:
                    reference.pods[PodKey(*key)] = pod
            case "policy":
                found = {"metadata": {"namespace": key[0], "name": key[1]}, "spec": value}
                state.set_policy(PolicyKey(*key), compile_policy(found) if value is not None else None)
                reference.policies.pop(PolicyKey(*key), None)
                if value is not None:
                    reference.policies[PolicyKey(*key)] = found
            case "again":
                model = Model()
                state.forget_told()
            case "take":
                model.carry_out(state.take_changes())
    model.carry_out(state.take_changes())
    assert state.take_changes().is_nothing
    everywhere = [*judged_addresses(reference)]
    local = {p["status"]["podIP"] for p in reference.pods.values() if p["spec"]["nodeName"] == NODE}
    for source in everywhere:
        for destination in everywhere:
            for protocol, port in PORTS:
                packet = source, destination, protocol, port
                if destination in local:
                    assert model.passes("Ingress", *packet) == reference.passes("Ingress", *packet), packet
                if source in local:
                    assert model.passes("Egress", *packet) == reference.passes("Egress", *packet), packet
    assert all(place.address in local for place in model.places)


def make_state(count: int) -> PolicyState:
    state = PolicyState()
    state.set_namespace("x", {"team": "a"})
    for number in range(count):
        state.set_pod(PodKey("x", f"p{number}"), numbered_pod(number))
    for number in range(20):
        peer = {"podSelector": {"matchLabels": {"app": f"a{number}"}}}
        spec = {"podSelector": {"matchLabels": {"app": f"a{number + 1}"}}, "ingress": [{"from": [peer]}]}
        state.set_policy(
            PolicyKey("x", f"n{number}"), compile_policy({"metadata": {"namespace": "x"}, "spec": spec})
        )
    state.take_changes()
    return state


def numbered_pod(number: int, app: int | None = None) -> Any:
    labels = {"app": f"a{number % 20 if app is None else app}"}
    address = f"10.244.{1 + number // 200}.{2 + number % 200}"
    return read_pod(
        {
            "metadata": {"namespace": "x", "name": f"p{number}", "labels": labels},
            "spec": {"nodeName": NODE if number < 100 else "proa-2", "containers": []},
            "status": {"podIPs": [{"ip": address}]},
        },
        NODE,
    )


def test_a_pods_change_touches_the_groups_that_it_enters_and_leaves() -> None:
    state = make_state(400)
    state.set_pod(PodKey("x", "p150"), numbered_pod(150, app=3))
    changes = state.take_changes()
    assert [len(members) for members in (*changes.added.values(), *changes.removed.values())] == [1, 1]
    assert [*changes.places, *changes.new_selections, *changes.new_groups] == []
    state.set_pod(PodKey("x", "p7"), None)
    changes = state.take_changes()
    assert len(changes.places) == 1
    assert [len(members) for members in changes.removed.values()] == [1]
    assert not changes.added


def test_what_policies_do_not_ask_about_a_pod_changes_nothing() -> None:
    state = make_state(50)
    state.set_pod(PodKey("x", "p1"), numbered_pod(1))
    state.set_namespace("x", {"team": "b"})
    assert state.take_changes().is_nothing


def test_ports_without_a_number_are_all_of_a_protocol() -> None:
    spec = {"ingress": [{"ports": [{"protocol": "UDP"}, {"port": 80, "endPort": 90}]}]}
    policy = compile_policy({"metadata": {"namespace": "x"}, "spec": spec})
    assert policy.egress is None
    assert policy.ingress is not None
    assert policy.ingress[0].ports == (Ports("UDP", 0, 65535), Ports("TCP", 80, 90))
