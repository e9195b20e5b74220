"""Install Gateway API, and tell where Ingresses and Gateways are reached from this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from proa.cli import Failure
from proa.cli.terminal import Terminal, print_json
from proa.client.protocol import Client, Object
from proa.home import Home, find_home
from proa.objects.errors import AlreadyExists, ApiError, Conflict, NotFound

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
LOOK_SECONDS = 0.05
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
    from proa.network.gateway.definitions import load_definitions
    from proa.network.gateway.resources import GATEWAY_CLASSES
    from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS

    definitions = load_definitions()
    client = connect(kubeconfig)
    try:
        for item in definitions.items:
            await ensure(client, item)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            for item in definitions.items:
                await until_established(client, CUSTOM_RESOURCE_DEFINITIONS, item["metadata"]["name"])
            await until_there(client, GATEWAY_CLASSES, CLASS)
    except TimeoutError:
        raise Failure(
            f"Gateway API is not served after {TIMEOUT_SECONDS:.0f} s: see the server's log"
        ) from None
    finally:
        await client.close()
    return definitions.release


async def ensure(client: Client, wanted: Object) -> None:
    """Create a definition, or bring an older one to ours."""
    from proa.network.gateway.definitions import RELEASE_ANNOTATION
    from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS

    name = wanted["metadata"]["name"]
    while True:
        try:
            await client.create(CUSTOM_RESOURCE_DEFINITIONS, wanted)
            return
        except AlreadyExists:
            found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, name)
        annotations = found["metadata"].get("annotations") or {}
        ours = wanted["metadata"]["annotations"]
        if _release(annotations.get(RELEASE_ANNOTATION, "")) >= _release(ours[RELEASE_ANNOTATION]):
            return
        metadata = {**found["metadata"], "annotations": {**annotations, **ours}}
        try:
            await client.update(
                CUSTOM_RESOURCE_DEFINITIONS, {**found, "metadata": metadata, "spec": wanted["spec"]}
            )
            return
        except (Conflict, NotFound):
            continue


def _release(text: str) -> tuple[int, ...]:
    """Return a release as numbers that compare: `v1.6.1` as (1, 6, 1)."""
    numbers = text.removeprefix("v").partition("-")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


async def until_established(client: Client, resource: Any, name: str) -> None:
    """Return when a definition is served."""
    from proa.objects import meta

    while True:
        if meta.has_condition(await client.get(resource, name), "Established"):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def until_there(client: Client, resource: Any, name: str) -> None:
    """Return when an object is there, which the server makes."""
    while True:
        try:
            await client.get(resource, name)
            return
        except NotFound:
            await asyncio.sleep(LOOK_SECONDS)
