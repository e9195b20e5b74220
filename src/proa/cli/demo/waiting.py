"""Wait for an object to be as wanted, by watching it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proa.cli import Failure
from proa.cli.terminal import Terminal
from proa.client.protocol import Client, Object
from proa.objects.errors import Expired, NotFound
from proa.objects.resource import Resource


async def wait_until(
    client: Client,
    resource: Resource,
    name: str,
    namespace: str | None,
    is_wanted: Callable[[Object], Any],
    timeout_seconds: float,
    terminal: Terminal,
    what: str,
) -> Object:
    """Return the object once it is as wanted; raise Failure, with its last status, when that takes too long."""
    seen: Object = {}

    async def watch() -> Object:
        nonlocal seen
        while True:
            listed = await client.list(resource, namespace, field_selector=f"metadata.name={name}")
            for seen in listed.items:
                if is_wanted(seen):
                    return seen
            try:
                async for event in client.watch(
                    resource,
                    namespace,
                    resource_version=listed.resource_version,
                    field_selector=f"metadata.name={name}",
                ):
                    if event.type in ("ADDED", "MODIFIED"):
                        seen = event.object
                        if is_wanted(seen):
                            return seen
                    terminal.progress(f"waiting for {what}: {brief(seen)}")
            except Expired:
                continue

    terminal.progress(f"waiting for {what}")
    try:
        async with asyncio.timeout(timeout_seconds):
            return await watch()
    except TimeoutError:
        raise Failure(
            f"{what}: not within {timeout_seconds:.0f} s; {resource.kind} {name}: {brief(seen)}"
        ) from None


def brief(obj: Object) -> str:
    """Return the scalar parts of an object's status in one line."""
    status = obj.get("status") or {}
    return (
        ", ".join(f"{key} {value}" for key, value in status.items() if isinstance(value, int | str))
        or "no status"
    )


async def wait_until_gone(
    client: Client,
    resource: Resource,
    name: str,
    namespace: str | None,
    timeout_seconds: float,
    terminal: Terminal,
) -> bool:
    """Delete an object and return once it is gone; False when it was not there."""

    async def watch() -> None:
        while True:
            listed = await client.list(resource, namespace, field_selector=f"metadata.name={name}")
            if not listed.items:
                return
            try:
                async for event in client.watch(
                    resource,
                    namespace,
                    resource_version=listed.resource_version,
                    field_selector=f"metadata.name={name}",
                ):
                    if event.type == "DELETED":
                        return
            except Expired:
                continue

    try:
        await client.delete(resource, name, namespace)
    except NotFound:
        return False
    terminal.progress(f"waiting for {resource.kind} {name} to be gone")
    try:
        async with asyncio.timeout(timeout_seconds):
            await watch()
    except TimeoutError:
        raise Failure(f"{resource.kind} {name} is not gone after {timeout_seconds:.0f} s") from None
    return True
