"""Install Gateway API, and tell where Ingresses and Gateways are reached from this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from proa.cli import Failure
from proa.cli.terminal import Terminal, print_json
from proa.home import Home, find_home
from proa.objects.errors import ApiError

DESCRIPTION = """\
Install Gateway API (GatewayClass, Gateway, HTTPRoute, GRPCRoute, ReferenceGrant; standard channel) into the running
cluster, or tell at which ports of this machine Ingresses and Gateways are reached.
Ingress needs no installation. What is installed by other means, as `kubectl apply`, works the same.
"""
EPILOG = """\
examples:
  proa gateway                where Ingresses and Gateways are reached
  proa gateway install        add Gateway API, or bring it to this release; what is newer is left alone
"""
TIMEOUT_SECONDS = 30.0
CLASS = "proa"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("action", nargs="?", choices=["status", "install"], default="status")
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="how to print (default: text)"
    )


def run(options: argparse.Namespace) -> int:
    """Do it."""
    home = find_home(options.home)
    if home.find_server() is None:
        raise Failure(f"no cluster runs in {home.path}: start one with `proa up --detach`")
    if options.action == "install":
        try:
            installed = asyncio.run(install(home.kubeconfig))
        except (ApiError, OSError) as error:
            raise Failure(f"Gateway API was not installed: {error}") from None
        if options.output == "json":
            print_json({"release": installed})
        else:
            Terminal().line(f"Gateway API {installed} is installed; GatewayClass {CLASS} is there")
        return 0
    places = find_places(home)
    if options.output == "json":
        print_json({"listeners": places})
    else:
        terminal = Terminal()
        for line in places_lines(places) or [
            "nothing is served yet: no Ingress and no Gateway is there, or the first one is new"
        ]:
            terminal.line(line)
    return 0


def find_places(home: Home) -> list[dict[str, Any]]:
    """Return each port of the gateway, and where it is on this machine, as the server has written it."""
    try:
        found = json.loads((home.gateway / "ports.json").read_text())
    except (FileNotFoundError, ValueError):
        return []
    return found if isinstance(found, list) else []


def places_lines(places: list[dict[str, Any]]) -> list[str]:
    """Return them for a person."""
    lines = []
    for place in places:
        scheme = {80: "http", 443: "https"}.get(place["port"])
        where = f"{place['address']}:{place['hostPort']}"
        lines.append(f"gateway: port {place['port']} is at {f'{scheme}://' if scheme else ''}{where}")
    return lines


async def install(kubeconfig: Path) -> str:
    """Create or renew the definitions; return the release when they and the GatewayClass are there."""
    from proa.client.kubeconfig import connect
    from proa.network.gateway import installation

    client = connect(kubeconfig)
    try:
        return await installation.install(client, TIMEOUT_SECONDS)
    except TimeoutError:
        raise Failure(
            f"Gateway API is not served after {TIMEOUT_SECONDS:.0f} s: see the server's log"
        ) from None
    finally:
        await client.close()
