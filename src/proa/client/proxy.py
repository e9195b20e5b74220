"""Reach a server through an HTTP proxy: which one (kubeconfig, environment), and the tunnel through it.

Follows Go's net/http (ProxyFromEnvironment): HTTPS_PROXY or HTTP_PROXY, but for loopback and what NO_PROXY names:
hosts, .domains, addresses, networks, `*`. CONNECT is RFC 9110, 9.3.6. Proxies are spoken to in plain HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from proa.objects.errors import BadRequest, ServiceUnavailable

MAX_HEAD_BYTES = 64 * 1024


class Proxy(NamedTuple):
    """Where a proxy is, and the header by which it knows us ("" for none)."""

    host: str
    port: int
    authorization: str = ""


def make_proxy(url: str) -> Proxy:
    """Return the proxy of a URL; raise BadRequest for one that is not spoken to in HTTP."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        shown = url.rpartition("@")[2]  # what stands before may be a password
        raise BadRequest(f"proxy {shown}: only http://HOST:PORT is supported")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, parts.port or 80, authorization)


def find_proxy(server: str, environment: Mapping[str, str]) -> str:
    """Return the URL of the proxy that the environment asks for, "" for none."""
    parts = urlsplit(server)
    name = f"{parts.scheme}_proxy"
    url = environment.get(name.upper()) or environment.get(name) or ""
    host = (parts.hostname or "").lower()
    if not url or host == "localhost" or _is_loopback(host):
        return ""
    excepted = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if any(_is_excepted(host, parts.port, entry.strip().lower()) for entry in excepted.split(",")):
        return ""
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_excepted(host: str, port: int | None, entry: str) -> bool:
    """Tell whether an entry of NO_PROXY means this host."""
    if entry == "*":
        return True
    name, colon, wanted_port = entry.rpartition(":")
    if colon and wanted_port.isdigit() and ":" not in name:
        if wanted_port != str(port):
            return False
        entry = name
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        bare = entry.removeprefix("*").lstrip(".")
        return bool(bare) and (host.endswith(f".{bare}") or host == entry)


async def open_tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy, host: str, port: int
) -> None:
    """Ask the proxy for a way to host:port; raise ServiceUnavailable, OSError."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
    if proxy.authorization:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    await writer.drain()
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise ServiceUnavailable(f"the proxy {proxy.host}:{proxy.port} does not speak HTTP") from None
    status = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 1)[-1]
    if not status.startswith("2"):
        raise ServiceUnavailable(f"the proxy {proxy.host}:{proxy.port} refuses {target}: {status}")
