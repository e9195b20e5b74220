"""Nodes of other machines get addresses nobody has and certificates for themselves; tokens sign, and end."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proa.controllers import node_departure
from proa.controllers.bootstrap_tokens import cleaning, signing
from proa.controllers.certificates import serving
from proa.controllers.node_ipam import NodeIpam, find_free, ranges_of, wants_range
from proa.objects.bootstrap_tokens import BootstrapToken, make_secret, sign
from proa.objects.certificate_request import read_request
from proa.reconcile.protocol import DONE, Key, Result

NOW = 1_800_000_000.0
RANGES = tuple((f"10.244.{number}.0/24",) for number in range(33, 37))


def make_node(name: str, number: int = 0, *addresses: str, joined: bool = True) -> dict[str, Any]:
    annotations = {"proa.local/overlay": "{}"} if joined else {}
    cidr = f"10.244.{number}.0/24"
    outer = [{"type": "ExternalIP", "address": address} for address in addresses]
    inner = [{"type": "InternalIP", "address": f"10.243.0.{number}"}]
    return {
        "metadata": {"name": name, "uid": name, "annotations": annotations},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]} if number else {},
        "status": {"addresses": [*outer, *inner, {"type": "Hostname", "address": name}]},
    }


# Addresses


@pytest.mark.parametrize(
    ("node", "wants"),
    [
        pytest.param(make_node("far"), True, id="joined"),
        pytest.param(make_node("far", joined=False), False, id="of-nobody's"),
        pytest.param(make_node("far", 33), False, id="has-some"),
        pytest.param(None, False, id="gone"),
    ],
)
def test_nodes_of_other_machines_want_addresses_once(node: Any, wants: bool) -> None:
    assert wants_range(node) == wants


@given(st.sets(st.integers(33, 36)), st.sets(st.integers(33, 36)))
def test_what_is_given_is_nobody_elses(had: set[int], given_: set[int]) -> None:
    nodes = [make_node(f"n{number}", number) for number in had]
    given_now = {(f"10.244.{number}.0/24",): f"g{number}" for number in given_}
    found = find_free(nodes, given_now, RANGES)
    assert found is None or (found in RANGES and not {*found} & {c for n in nodes for c in ranges_of(n)})
    assert (found is None) == (had | given_ == {33, 34, 35, 36})
    assert found not in given_now


class Cache:
    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = {obj["metadata"]["name"]: obj for obj in objects}

    def get(self, name: str, namespace: str = "") -> Any:
        return self.objects.get(name)

    def list(self, namespace: str | None = None) -> Any:
        return [*self.objects.values()]

    def wrote(self, obj: Any) -> None:
        """The cache stays behind."""


def make_context(cache: Cache, **more: Any) -> Any:
    told: list[tuple[str, str]] = []
    calls: list[Any] = []

    async def patch(resource: Any, name: str, body: Any, **_: Any) -> Any:
        calls.append((name, body["spec"]["podCIDRs"]))
        return {**cache.objects[name], **body}

    async def delete(resource: Any, name: str, namespace: str | None = None, **_: Any) -> Any:
        calls.append(name)

    async def update(resource: Any, obj: Any, subresource: str = "") -> Any:
        calls.append((subresource, obj))

    return SimpleNamespace(
        client=SimpleNamespace(patch=patch, delete=delete, update=update),
        caches=lambda *_: cache,
        events=SimpleNamespace(event=lambda obj, kind, reason, words: told.append((reason, words))),
        now=lambda: NOW,
        settings=SimpleNamespace(pod_cidrs=RANGES[:2]),
        told=told,
        calls=calls,
        **more,
    )


def test_two_nodes_get_two_ranges_though_the_cache_is_behind_and_a_third_is_told_that_there_is_none() -> None:
    context = make_context(Cache(*(make_node(name) for name in "abc")))
    controller = NodeIpam()
    for name in "aba":
        asyncio.run(controller.reconcile(context, Key("", name)))
    assert asyncio.run(controller.reconcile(context, Key("", "c"))).requeue_after > 0
    assert [cidrs for _, cidrs in context.calls][:2] == [["10.244.33.0/24"], ["10.244.34.0/24"]]
    assert context.told == [("CIDRNotAvailable", "Node c status is now: CIDRNotAvailable")]


def test_a_node_that_has_left_is_deleted_and_no_other() -> None:
    left, mine = make_node("left", 33), make_node("mine", 1, joined=False)
    for node in (left, mine):
        node["metadata"]["annotations"]["proa.local/left"] = "1"
    context = make_context(Cache(left, mine, make_node("stays", 34)))
    for name in ("left", "mine", "stays", "gone"):
        asyncio.run(node_departure.reconcile(context, Key("", name)))
    assert context.calls == ["left"]


# Serving certificates


def make_request(name: str, *names: str, user: str = "", group: str = "system:nodes") -> dict[str, Any]:
    subject = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{name}"),
    ])  # fmt: skip
    alternatives: list[x509.GeneralName] = []
    for each in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(each)))
        except ValueError:
            alternatives.append(x509.DNSName(each))
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    spec = {
        "request": base64.b64encode(pem.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": serving.SIGNER,
        "usages": ["digital signature", "server auth"],
        "username": user or f"system:node:{name}",
        "groups": [group],
    }
    return {"metadata": {"name": "r", "creationTimestamp": "2027-01-15T08:00:00Z"}, "spec": spec}


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        pytest.param(make_request("far", "far", "192.0.2.2", "10.243.0.33"), "", id="itself"),
        pytest.param(make_request("far", "192.0.2.2"), "", id="an-address-of-its-machine"),
        pytest.param(make_request("far", "other"), "the node does not have other", id="another-node"),
        pytest.param(
            make_request("far", "192.0.2.9"), "the node does not have 192.0.2.9", id="another-address"
        ),
        pytest.param(
            make_request("sly", "192.0.2.1"), "192.0.2.1 is not the node's alone", id="the-api-server"
        ),
        pytest.param(
            make_request("sly", "10.243.0.33"), "10.243.0.33 is not the node's alone", id="a-node's-own"
        ),
        pytest.param(
            make_request("sly", "10.96.0.1"), "10.96.0.1 is no address of a machine", id="a-service"
        ),
        pytest.param(make_request("sly", "127.0.0.1"), "127.0.0.1 is no address of a machine", id="loopback"),
        pytest.param(
            make_request("kubernetes", "kubernetes"),
            "kubernetes is no name of a machine",
            id="the-service",
        ),
        pytest.param(
            make_request("kubernetes.default.svc", "kubernetes.default.svc"),
            "kubernetes.default.svc is no name of a machine",
            id="a-node-called-as-a-service",
        ),
        pytest.param(
            make_request("sly", "Hook.dev.SVC"), "Hook.dev.SVC is no name of a machine", id="a-webhook"
        ),
        pytest.param(make_request("sly", "*.dev"), "*.dev is no name of a machine", id="several-names"),
        pytest.param(make_request("none", "none"), "there is no node none", id="no-node"),
        pytest.param(
            make_request("far", "far", user="ann"), "ann asks for system:node:far", id="somebody-else"
        ),
        pytest.param(
            make_request("far", "far", group="dev"),
            "system:node:far asks for system:node:far",
            id="in-no-group",
        ),
    ],
)
def test_a_kubelets_certificate_is_approved_for_the_node_itself_alone(request_: Any, refusal: str) -> None:
    sly = make_node("sly", 35, "192.0.2.1", "10.243.0.33", "10.96.0.1", "127.0.0.1", "Hook.dev.SVC", "*.dev")
    nodes = [
        make_node("far", 33, "192.0.2.2"),
        make_node("other", 34, "192.0.2.2"),
        sly,
        make_node("kubernetes", 36),
        make_node("kubernetes.default.svc", 37),
    ]
    asked = read_request(request_["spec"]["request"])
    reserved = {"kubernetes", "192.0.2.1"}
    assert serving.find_refusal(request_, asked, nodes, reserved, ["10.96.0.0/16"]) == refusal


def test_the_api_server_is_called_as_the_cluster_info_says() -> None:
    text = "clusters:\n- cluster: {server: 'https://192.0.2.1:6443'}\n"
    assert serving.api_names({"data": {"kubeconfig": text}}) == {"192.0.2.1"}
    assert serving.api_names(None) == set()


# Tokens


def make_token(token_id: str, expires_at: float | None = None, *usages: str) -> BootstrapToken:
    return BootstrapToken(token_id, "0123456789abcdef", expires_at, usages or ("signing",), ())


def test_the_cluster_info_is_signed_by_the_tokens_that_may_and_by_no_others() -> None:
    info = {"data": {"kubeconfig": "text", "jws-kubeconfig-gone00": "old", "other": "kept"}}
    tokens = [
        make_token("aaaaaa", NOW + 60),
        make_token("bbbbbb"),
        make_token("cccccc", NOW),
        make_token("dddddd", None, "authentication"),
    ]
    wanted, look_again = signing.plan(info, map(make_secret, tokens), NOW)
    assert wanted is not None
    assert wanted["data"] == {
        "kubeconfig": "text",
        "other": "kept",
        **{f"jws-kubeconfig-{token.id}": sign("text", token.id, token.secret) for token in tokens[:2]},
    }
    assert look_again == NOW + 60
    assert signing.plan(wanted, map(make_secret, tokens), NOW) == (None, NOW + 60)
    assert signing.plan(None, map(make_secret, tokens), NOW) == (None, 0.0)
    assert signing.plan({"data": {}}, map(make_secret, tokens), NOW) == (None, 0.0)


@pytest.mark.parametrize(
    ("token", "result", "deleted"),
    [
        pytest.param(make_token("aaaaaa", NOW - 1), DONE, ["bootstrap-token-aaaaaa"], id="over"),
        pytest.param(make_token("aaaaaa", NOW + 5), Result(requeue_after=5.0), [], id="to-come"),
        pytest.param(make_token("aaaaaa"), DONE, [], id="never"),
    ],
)
def test_tokens_are_deleted_when_their_time_is_over(
    token: BootstrapToken, result: Result, deleted: list[str]
) -> None:
    secret = make_secret(token)
    secret["metadata"]["uid"] = "u"
    context = make_context(Cache(secret))
    key = Key("kube-system", secret["metadata"]["name"])
    assert asyncio.run(cleaning.reconcile(context, key)) == result
    assert context.calls == deleted


def test_no_node_gets_a_certificate_for_where_pods_reach_the_api() -> None:
    request = make_request("sly", "10.243.255.1")
    context = make_context(Cache(request, make_node("sly", 35, "10.243.255.1")))
    context.settings.api_addresses = ("10.243.255.1",)
    context.now = lambda: NOW + 10 * 365 * 86400
    asyncio.run(serving.reconcile(context, Key("", "r")))
    assert context.calls == []
    assert context.told == [
        ("NotApproved", "left to a person to approve: 10.243.255.1 is not the node's alone")
    ]
