"""Which cluster and namespace an action on objects means, and one connection a command."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from proa.cli import Failure
from proa.cli.actions import add_action as add_any_action
from proa.client.protocol import Client, Object
from proa.home import find_home, option_for
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import Resource

T = TypeVar("T")
NAMESPACE = "default"
"""As the SDKs' outside of a cluster."""
PAGE = 500


def add_action(
    actions: Any, name: str, summary: str, outputs: str, examples: str = ""
) -> argparse.ArgumentParser:
    """Return the parser of one action, with the options that all of them have."""
    parser = add_any_action(actions, name, summary, epilog=f"examples:\n{examples}" if examples else "")
    add_cluster_options(parser, argparse.SUPPRESS)
    if outputs:
        parser.add_argument(
            "-o", "--output", choices=outputs.split(), default="text", help="how to print (default: text)"
        )
    return parser


def add_cluster_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add what says which cluster and which namespace."""
    is_top = default is None
    parser.add_argument(
        "--kubeconfig", metavar="FILE", default=default, help="of any cluster, in place of the home's"
    )
    parser.add_argument(
        "-n",
        "--namespace",
        metavar="NS",
        default=NAMESPACE if is_top else default,
        help=f"default: {NAMESPACE}",
    )


def ask(options: argparse.Namespace, act: Callable[[Client], Awaitable[T]]) -> T:
    """Do something with the cluster; refusals, and a cluster out of reach, are Failures."""
    from proa.cli.pipelines.rest import find_kubeconfig
    from proa.client.kubeconfig import connect

    path = find_kubeconfig(options.home, options.kubeconfig)

    async def connected() -> T:
        client = connect(path)
        try:
            return await act(client)
        finally:
            await client.close()

    try:
        return asyncio.run(connected())
    except ApiError as error:
        raise Failure(error.message) from None


def hint(options: argparse.Namespace) -> str:
    """Return the options with which another command finds the same cluster and namespace, each after a space."""
    home = option_for(find_home(options.home).path)
    words = f" --kubeconfig {options.kubeconfig}" if options.kubeconfig else home
    return words + (f" -n {options.namespace}" if options.namespace != NAMESPACE else "")


def is_unknown_kind(error: NotFound) -> bool:
    """Tell whether the kind itself is what was not found."""
    return "page not found" in error.message or "could not find the requested resource" in error.message


async def list_all(
    client: Client, resource: Resource, namespace: str | None, label_selector: str = ""
) -> list[Object]:
    """Return a list, page by page."""
    found: list[Object] = []
    token = ""
    while True:
        page = await client.list(
            resource, namespace, label_selector=label_selector, limit=PAGE, continue_token=token
        )
        found += page.items
        token = page.continue_token
        if not token:
            return found


def print_list(resource: Resource, items: list[Object], output: str) -> None:
    """Print objects as a List in JSON or YAML."""
    print_objects(
        {"apiVersion": resource.api_version, "kind": f"{resource.kind}List", "items": items}, output
    )


def print_objects(value: Any, output: str) -> None:
    """Print a value as JSON or YAML."""
    if output == "json":
        from proa.cli.terminal import print_json

        print_json(value)
        return
    import yaml

    print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")
