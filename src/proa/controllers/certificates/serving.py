"""Approve the certificates by which kubelets of other machines are known, where they name nothing else.

Upstream leaves this to a person or to a controller of one's own, since a node that could name itself at will could
stand in for others. Here a request is approved where a node asks for itself (user and subject are `system:node:NAME`)
and names nothing but what its Node says: its name and addresses; and none of these may be another node's own, a
service's, of loopback, or the API server's (what kube-public/cluster-info has). The API server takes a kubelet's
certificate only for the node that is its subject. Others wait for `kubectl certificate approve`, and an Event says
why. Watches certificate signing requests and nodes, writes approvals. Modelled on
pkg/controller/certificates/approver.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from proa.client.protocol import Object
from proa.controllers.certificates.approving import approved, is_settled
from proa.objects import meta
from proa.objects.bootstrap_tokens import CLUSTER_INFO, KUBECONFIG_KEY, PUBLIC_NAMESPACE
from proa.objects.certificate_request import (
    NODE_PREFIX,
    NODES_GROUP,
    CertificateRequest,
    UnreadableRequest,
    kubelet_serving_problem,
    read_request,
)
from proa.objects.errors import Conflict, NotFound
from proa.objects.resource import CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, NODES, SERVICE_CIDRS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch, no_keys

NAME = "kubelet-serving-approver"
ACCOUNT = "certificate-controller"
SIGNER = "kubernetes.io/kubelet-serving"
INFO = f"metadata.name={CLUSTER_INFO},metadata.namespace={PUBLIC_NAMESPACE}"
WATCHES = (
    Watch(CERTIFICATE_SIGNING_REQUESTS),
    Watch(NODES, keys_of=no_keys),
    Watch(SERVICE_CIDRS, keys_of=no_keys),
    Watch(CONFIG_MAPS, keys_of=no_keys, field_selector=INFO),
)
RESERVED_NAMES = ("kubernetes", "kubernetes.default", "localhost", "proa.local")
PATIENCE_SECONDS = 15.0
RETRY_SECONDS = 1.0
MESSAGE = "Auto approving kubelet serving certificate: it names this node and its own addresses alone."


def find_refusal(
    request: Object,
    asked: CertificateRequest,
    nodes: Iterable[Object],
    reserved: Iterable[str],
    ranges: Iterable[str],
) -> str:
    """Return why a request is left to a person, "" where it is approved.

    `reserved` are names and addresses of the API server, `ranges` those of services.
    """
    spec = request["spec"]
    if problem := kubelet_serving_problem(asked, spec.get("usages") or ()):
        return problem
    if spec.get("username") != asked.common_name or NODES_GROUP not in (spec.get("groups") or ()):
        return f"{spec.get('username')} asks for {asked.common_name}"
    name = asked.common_name.removeprefix(NODE_PREFIX)
    nodes = [*nodes]
    names = {meta.name(node): _names_of(node) for node in nodes}
    if services := [dns_name for dns_name in asked.dns_names if _is_of_the_cluster(dns_name)]:
        return f"{', '.join(services)} is no name of a machine"
    if name not in names:
        return f"there is no node {name}"
    wanted = {*asked.dns_names, *asked.addresses}
    if stray := sorted(wanted - names[name]):
        return f"the node does not have {', '.join(stray)}"
    others = {own for node in nodes if meta.name(node) != name for own in _own_names_of(node)}
    if taken := sorted(wanted & (others | {*reserved})):
        return f"{', '.join(taken)} is not the node's alone"
    networks = [ipaddress.ip_network(cidr) for cidr in ranges]
    for text in asked.addresses:
        address = ipaddress.ip_address(text)
        if address.is_loopback or address.is_unspecified or any(address in network for network in networks):
            return f"{text} is no address of a machine"
    return ""


def _is_of_the_cluster(dns_name: str) -> bool:
    """Tell whether a name could be a service's (the API's own, a webhook's), or be that of several."""
    labels = dns_name.lower().split(".")
    return "svc" in labels or "*" in dns_name or dns_name.lower() in RESERVED_NAMES


def _names_of(node: Object) -> set[str]:
    addresses = (node.get("status") or {}).get("addresses") or ()
    return {meta.name(node), *(a["address"] for a in addresses if a.get("type") != "Hostname")}


def _own_names_of(node: Object) -> set[str]:
    """Return what is one node's alone: nodes of one machine have its outer address in common."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    return {meta.name(node), *(a["address"] for a in addresses if a.get("type") == "InternalIP")}


def api_names(info: Object | None) -> set[str]:
    """Return by what names the cluster-info has the API server called."""
    import yaml

    text = ((info or {}).get("data") or {}).get(KUBECONFIG_KEY)
    found = yaml.safe_load(text) if text else {}
    clusters = found.get("clusters") or () if isinstance(found, dict) else ()
    return {host for entry in clusters if (host := urlsplit(str(entry["cluster"].get("server"))).hostname)}


async def reconcile(context: Context, key: Key) -> Result:
    """Approve the request `key.name` where it is a kubelet's for itself."""
    request = context.caches(CERTIFICATE_SIGNING_REQUESTS).get(key.name)
    if request is None or request["spec"].get("signerName") != SIGNER or is_settled(request):
        return DONE
    try:
        asked = read_request(request["spec"]["request"])
    except UnreadableRequest:
        return DONE
    info = context.caches(CONFIG_MAPS, INFO).get(CLUSTER_INFO, PUBLIC_NAMESPACE)
    ranges = [c for one in context.caches(SERVICE_CIDRS).list() for c in one["spec"].get("cidrs") or ()]
    reserved = {*RESERVED_NAMES, *context.settings.api_addresses, *api_names(info)}
    refusal = find_refusal(request, asked, context.caches(NODES).list(), reserved, ranges)
    age = context.now() - meta.parse_time(request["metadata"]["creationTimestamp"])
    if refusal and age < PATIENCE_SECONDS:
        return Result(requeue_after=RETRY_SECONDS)  # what the Node says may be on its way
    if refusal:
        context.events.event(request, "Warning", "NotApproved", f"left to a person to approve: {refusal}")
        return DONE
    try:
        await context.client.update(CERTIFICATE_SIGNING_REQUESTS, approved(request, MESSAGE), "approval")
    except (Conflict, NotFound):
        return DONE  # its new state comes by the watch
    return DONE
