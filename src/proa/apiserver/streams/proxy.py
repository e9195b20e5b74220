"""Pass HTTP requests on to pods, services and nodes: `/api/v1/.../{name}/proxy/{path}`.

`name` is `[scheme:]name[:port]`. Method, path, query and body go through as they came; hop-by-hop headers, and the
client's credentials for this API server, do not. Answers stream. A `Connection: Upgrade` request is joined to the
backend's connection once that has answered 101.

Follows ResourceLocation in pkg/registry/core/{pod,service,node}, apimachinery/pkg/util/proxy/transport.go
and SplitSchemeNamePort in apimachinery/pkg/util/net/port_split.go.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from urllib.parse import quote, unquote, urlencode, urlsplit

from proa.apiserver.streams.context import StreamContext, UpgradedConnection
from proa.apiserver.streams.http_backend import Backend, connect
from proa.apiserver.streams.splice import splice
from proa.apiserver.streams.upgraded import Upgraded
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ApiError, BadRequest, MethodNotAllowed, ServiceUnavailable
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import ENDPOINT_SLICES, NODES, PODS, SERVICES

HOP_BY_HOP = frozenset((
    "connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
))  # fmt: skip
KUBELET_PORT = 10250


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `node` is the node from which the address is reached."""

    scheme: str
    node: str
    host: str
    port: int


def split_name(text: str) -> tuple[str, str, str] | None:
    """Return (scheme, name, port) of `[scheme:]name[:port]`, None where it has not that form."""
    parts = text.split(":")
    if len(parts) == 1:
        scheme, name, port = "", parts[0], ""
    elif len(parts) == 2:
        scheme, name, port = "", *parts
    elif len(parts) == 3:
        scheme, name, port = parts
    else:
        return None
    return (scheme, name, port) if name and scheme in ("", "http", "https") else None


async def proxy_to_pod(request: Request, context: StreamContext) -> Response:
    """Serve pods/proxy: the port named, else the first that a container declares, else 80."""
    if (split := split_name(context.name)) is None:
        raise BadRequest(f'invalid pod request "{context.name}"')
    scheme, name, port = split
    pod = await context.get_object(PODS, name, context.namespace)
    declared = [p["containerPort"] for c in pod["spec"].get("containers", ()) for p in c.get("ports") or ()]
    address = pod.get("status", {}).get("podIP", "")
    if not address:
        raise BadRequest("address not allowed")
    number = _number(port) if port else (declared[0] if declared else 443 if scheme == "https" else 80)
    target = Target(scheme or "http", pod["spec"].get("nodeName", ""), address, number)
    return await _pass_on(request, context, target)


async def proxy_to_service(request: Request, context: StreamContext) -> Response:
    """Serve services/proxy: a random ready endpoint of the port named (by name or number), else of the only one."""
    if (split := split_name(context.name)) is None:
        raise BadRequest(f'invalid service request "{context.name}"')
    scheme, name, port = split
    service = await context.get_object(SERVICES, name, context.namespace)
    port_name = _service_port_name(service, port)
    slices = await context.list_objects(
        ENDPOINT_SLICES, context.namespace, f"kubernetes.io/service-name={name}"
    )
    candidates = find_endpoints(slices, port_name)
    if not candidates:
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')
    refusals: list[ApiError] = []
    for node, host, number in random.sample(candidates, len(candidates)):
        try:
            return await _pass_on(request, context, Target(scheme or "http", node, host, number))
        except Unreachable as refusal:
            refusals.append(refusal)
    raise refusals[0]


async def proxy_to_node(request: Request, context: StreamContext) -> Response:
    """Serve nodes/proxy: the node's own address, by default at the kubelet's port, where it answers itself."""
    if (split := split_name(context.name)) is None:
        raise BadRequest(f'invalid node request "{context.name}"')
    scheme, name, port = split
    node = await context.get_object(NODES, name, "")
    status = node.get("status", {})
    addresses = [a["address"] for a in status.get("addresses") or () if a["type"] == "InternalIP"]
    if not addresses:
        raise ServiceUnavailable(
            f"no preferred addresses found; known addresses: {status.get('addresses') or []}"
        )
    declared = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port") or KUBELET_PORT
    number = _number(port) if port else declared
    if number == declared:
        return await _kubelet_page(request, context, name)
    default_scheme = "http"
    return await _pass_on(request, context, Target(scheme or default_scheme, name, addresses[0], number))


async def _kubelet_page(request: Request, context: StreamContext, node: str) -> Response:
    """Return what the kubelet itself shows; its logs, exec and port-forward are pods' subresources."""
    kubelet = await context.kubelet(node)
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"the kubelet of node {node} is only read here: GET")
    page = await kubelet.document(unquote(context.subpath) or "/")
    if page is None:
        return Response(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")
    content_type, body = page
    return Response(200, {"Content-Type": content_type}, body)


class Unreachable(ServiceUnavailable):
    """No connection to the backend could be made: another endpoint may be tried."""


def find_endpoints(slices: list[Object], port_name: str) -> list[tuple[str, str, int]]:
    """Return (node, address, port) of each ready endpoint that offers the port."""
    return [
        (endpoint.get("nodeName") or "", endpoint["addresses"][0], port["port"])
        for slice_ in slices
        for port in slice_.get("ports") or ()
        if (port.get("name") or "") == port_name and port.get("port")
        for endpoint in slice_.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready") is not False
    ]


def _service_port_name(service: Object, wanted: str) -> str:
    name, ports = service["metadata"]["name"], service.get("spec", {}).get("ports") or []
    if not wanted and len(ports) == 1:
        return str(ports[0].get("name") or "")
    for port in ports:
        if wanted in ((port.get("name") or ""), str(port["port"])):
            return str(port.get("name") or "")
    raise ServiceUnavailable(f'no service port "{wanted}" found for service "{name}"')


def _number(port: str) -> int:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadRequest(f'invalid port "{port}"')
    return int(port)


def is_allowed(address: str) -> bool:
    """Tell whether an address may be a backend: not what is the host's alone (loopback, link-local), nor a group.

    A pod's and an endpoint's address are what somebody wrote (pkg/proxy/util: IsProxyableIP).
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


async def _pass_on(request: Request, context: StreamContext, target: Target) -> Response:
    if not is_allowed(target.host):
        raise BadRequest("address not allowed")
    try:
        kubelet = await context.kubelet(target.node)
        stream = await connect(await kubelet.dial(target.host, target.port), target.scheme, target.host)
    except (ApiError, OSError) as error:
        reason = error.message if isinstance(error, ApiError) else str(error)
        raise Unreachable(
            f"error trying to reach service: dial tcp {target.host}:{target.port}: {reason}"
        ) from error
    backend = Backend(stream)
    wants_upgrade = "upgrade" in request.headers.get("connection", "").lower()
    try:
        await backend.send(request.method, _path(request, context), _headers(request, target), request.body)
        head = await backend.read_head(request.method)
    except (OSError, ValueError) as error:
        await backend.close()
        raise ServiceUnavailable(f"error trying to reach service: {error}") from error
    if head.status == 101 and wants_upgrade:

        async def upgrade(connection: UpgradedConnection) -> None:
            await splice(Upgraded(connection), backend.raw_stream())

        return Response(status=101, headers=head.headers, upgrade=upgrade)
    headers = without_hops(head.headers)
    if location := headers.get("Location"):
        headers["Location"] = _outside_location(location, request, context, target)
    return Response(status=head.status, headers=headers, stream=backend.body())


def _path(request: Request, context: StreamContext) -> str:
    path = quote(context.subpath or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urlencode(request.query, doseq=True)
    return f"{path}?{query}" if query else path


def _headers(request: Request, target: Target) -> dict[str, str]:
    headers = without_hops(request.headers)
    for name in ("authorization", "content-length", "host"):
        headers.pop(name, None)
    headers = {name: value for name, value in headers.items() if not name.startswith("impersonate-")}
    headers["host"] = f"{target.host}:{target.port}"
    headers["x-forwarded-uri"] = request.path
    headers["x-forwarded-proto"] = "https"
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(request.body))
    if "upgrade" in request.headers.get("connection", "").lower():
        headers["connection"] = "Upgrade"
        headers["upgrade"] = request.headers.get("upgrade", "")
    else:
        headers["connection"] = "close"
    return headers


def without_hops(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are for the other end, and not for the next one on the way."""
    named = {
        token.strip().lower()
        for name, value in headers.items()
        if name.lower() == "connection"
        for token in value.split(",")
    }
    return {n: v for n, v in headers.items() if n.lower() not in HOP_BY_HOP and n.lower() not in named}


def _outside_location(location: str, request: Request, context: StreamContext, target: Target) -> str:
    """Return a redirect to the backend itself as one through the proxy; others are left alone."""
    parts = urlsplit(location)
    if parts.netloc not in ("", f"{target.host}:{target.port}", target.host) or not parts.path.startswith(
        "/"
    ):
        return location
    prefix = request.path[: len(request.path) - len(context.subpath)].rstrip("/")
    return prefix + parts.path + (f"?{parts.query}" if parts.query else "")
