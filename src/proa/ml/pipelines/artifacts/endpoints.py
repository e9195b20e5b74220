"""Find a bucket's endpoint as this process reaches it: pods may know it by another address, or by a Service's name.

A namespace's ConfigMap names it, so whoever may write that would have this process ask what listens on its own machine:
loopback and link-local addresses are refused unless settings name them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from proa.client.protocol import Client, Object
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.objects.errors import NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import SERVICES

_SERVICE = re.compile(r"([a-z0-9-]+)(?:\.([a-z0-9-]+)(?:\.svc(?:\.cluster\.local)?)?)?\.?")
_PORTS = {"http": 80, "https": 443, "": 443}


@dataclass(frozen=True, slots=True)
class Outside:
    """Where a process is that is not in the pods' network.

    `hosts` are names and addresses as pods know them, and what they are here; `node_ports` is the address at which
    the cluster's NodePorts are had here, "" for a process to which Services' names mean what they mean to pods.
    """

    hosts: Mapping[str, str] | None = None
    node_ports: str = ""


async def find(client: Client, namespace: str, settings: BucketSettings, outside: Outside) -> str:
    """Return the endpoint to ask; raise ArtifactError for one that is not to be asked from here."""
    if not settings.endpoint or settings.scheme == "gs":
        return settings.endpoint
    has_scheme = "://" in settings.endpoint
    parts = urlsplit(settings.endpoint if has_scheme else f"//{settings.endpoint}")
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ArtifactError(
            f"ConfigMap kfp-launcher: endpoint {settings.endpoint!r}: not HOST:PORT"
        ) from None
    known = (outside.hosts or {}).get(host)
    if known is not None:
        return _join(parts.scheme, known, port)
    if outside.node_ports:
        default = 80 if settings.disable_ssl else _PORTS.get(parts.scheme, 443)
        node_port = await _find_node_port(client, namespace, host, port or default)
        if node_port:
            return _join(parts.scheme, outside.node_ports, node_port)
    if await asyncio.to_thread(_is_inner, host):
        raise ArtifactError(
            f"ConfigMap kfp-launcher: endpoint {settings.endpoint}: a loopback or link-local address, at which pods"
            " and this server find different machines"
        )
    return settings.endpoint


def _join(scheme: str, host: str, port: int | None) -> str:
    return (f"{scheme}://" if scheme else "") + host + (f":{port}" if port else "")


async def _find_node_port(client: Client, namespace: str, host: str, port: int) -> int:
    """Return the NodePort of the Service that pods call by this name; 0 for what is none."""
    named = _SERVICE.fullmatch(host)
    if named is None:
        return 0
    name, place = named[1], named[2] or namespace
    try:
        service = await client.get(SERVICES, name, place)
    except NotFound:
        return 0
    found = _node_port_of(service, port)
    if not found:
        raise ArtifactError(
            f"ConfigMap kfp-launcher: endpoint {host}:{port}: this server, which is not in the pods' network, reaches"
            f" Service {place}/{name} by a NodePort only: give it spec.type NodePort"
        )
    return found


def _node_port_of(service: Object, port: int) -> int:
    ports = service["spec"].get("ports") or ()
    return next((one.get("nodePort") or 0 for one in ports if one["port"] == port), 0)


def _is_inner(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # the request will say so
        return False
    for *_, address in found:
        ip = ipaddress.ip_address(str(address[0]).split("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_loopback or ip.is_link_local or ip.is_unspecified:
            return True
    return False
