"""Take this machine's node out of the cluster that it has joined."""

from __future__ import annotations

import argparse
import asyncio
import time

from proa.cli import Failure
from proa.cli.down import stop
from proa.cli.reset import remove
from proa.cli.terminal import Terminal
from proa.home import Home, find_home
from proa.objects.errors import ApiError, NotFound

DESCRIPTION = """\
Take this machine's node out of the cluster that it has joined: its pods end, with their grace, the cluster removes the
Node, and everything that the node kept here goes: keys, logs, images and volumes of its pods.
"""
EPILOG = """\
Where the cluster does not answer the Node stays: `kubectl delete node NAME` removes it.
"""
LEFT_ANNOTATION = "proa.local/left"
"""By this a node asks to be removed (controllers/node_departure.py): it may not delete itself."""
WAIT_SECONDS = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="how long pods may take (default: 60)"
    )


def run(options: argparse.Namespace) -> int:
    """Leave."""
    from proa.joining.membership import JoinFailure, read_membership

    home, terminal = find_home(options.home), Terminal()
    try:
        membership = read_membership(home)
    except JoinFailure as failure:
        raise Failure(str(failure)) from None
    if membership is None:
        raise Failure(f"{home.path} is no node of another machine's cluster")
    leave(home, options.timeout, terminal)
    terminal.line(f"left: {membership.node_name} is no node of {membership.server} any more")
    return 0


def leave(home: Home, timeout_seconds: float, terminal: Terminal, *, is_quiet: bool = False) -> None:
    """Stop the node, have the cluster remove it, and remove what it kept here."""
    from proa.joining.membership import read_membership

    stop(home, timeout_seconds, terminal)
    membership = read_membership(home)
    if membership is not None:
        try:
            asyncio.run(_ask_to_be_removed(home))
        except (ApiError, OSError, TimeoutError) as error:
            if not is_quiet:
                why = error.message if isinstance(error, ApiError) else str(error) or "no answer"
                terminal.warn(
                    f"the cluster has not removed the node ({why}): `kubectl delete node {membership.node_name}` there "
                    "does"
                )
    if home.path.is_dir():
        remove(home)


async def _ask_to_be_removed(home: Home) -> None:
    from proa.joining.membership import connect_as_node, read_membership
    from proa.objects.resource import NODES

    membership = read_membership(home)
    assert membership is not None
    client = connect_as_node(home)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            body = {"metadata": {"annotations": {LEFT_ANNOTATION: str(int(time.time()))}}}
            node = await client.patch(NODES, membership.node_name, body)
            while True:
                async for event in client.watch(
                    NODES,
                    field_selector=f"metadata.name={membership.node_name}",
                    resource_version=node["metadata"]["resourceVersion"],
                    timeout_seconds=int(WAIT_SECONDS),
                ):
                    if event.type == "DELETED":
                        return
                node = await client.get(NODES, membership.node_name)
    except NotFound:
        return
    finally:
        await client.close()
