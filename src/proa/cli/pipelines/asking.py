"""What the verbs about pipelines share: options, one connection a command, and things found by id or by name."""

from __future__ import annotations

import argparse
import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from proa.cli import Failure
from proa.cli.actions import add_action as add_any_action
from proa.cli.pipelines.rest import EQUALS, PipelinesApi, connect, find_kubeconfig
from proa.client.protocol import Object
from proa.home import find_home, option_for
from proa.objects.errors import ApiError, NotFound

Json = dict[str, Any]
T = TypeVar("T")
DEFAULT_LIMIT = 20


def add_action(actions: Any, name: str, summary: str, examples: str = "") -> argparse.ArgumentParser:
    """Return the parser of one action, with the options that all of them have."""
    parser = add_any_action(actions, name, summary, epilog=f"examples:\n{examples}" if examples else "")
    add_cluster_options(parser, argparse.SUPPRESS)
    return parser


def add_cluster_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add what says which cluster, which namespace, and how to print."""
    is_top = default is None
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        default=default,
        help="of any cluster with Kubeflow Pipelines' API, in place of the home's",
    )
    parser.add_argument(
        "-n", "--namespace", metavar="NS", default="" if is_top else default, help="default: kubeflow"
    )
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text" if is_top else default, help="how to print"
    )


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add how many of a list are asked for."""
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"so many at most, the newest first; 0: all (default: {DEFAULT_LIMIT})",
    )


def ask(options: argparse.Namespace, act: Callable[[PipelinesApi], Awaitable[T]]) -> T:
    """Do something with the cluster's Pipelines; refusals and a cluster out of reach are Failures."""

    path = find_kubeconfig(options.home, options.kubeconfig)

    async def connected() -> T:
        api = await connect(path, options.namespace)
        api.hint = hint(options)
        try:
            return await act(api)
        finally:
            await api.close()

    try:
        return asyncio.run(connected())
    except ApiError as error:
        raise Failure(error.message) from None


def hint(options: argparse.Namespace) -> str:
    """Return the options with which another command finds the same cluster and namespace, each after a space."""
    words = (
        f" --kubeconfig {options.kubeconfig}"
        if options.kubeconfig
        else option_for(find_home(options.home).path)
    )
    return words + (f" --namespace {options.namespace}" if options.namespace else "")


def is_id(text: str) -> bool:
    """Tell whether a text is an id of the API's (a UUID)."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


async def find_run(api: PipelinesApi, name: str) -> Json:
    """Return a run by its id, else the newest one of that name; raise Failure."""
    if is_id(name):
        return await api.get(f"/runs/{name}")
    return await api.get(f"/runs/{(await find_in(api, 'runs', 'runs', name))['run_id']}")


async def find_in(api: PipelinesApi, kind: str, field: str, name: str) -> Json:
    """Return the newest of a list by its display name; raise Failure."""
    filters: Mapping[str, tuple[str, str]] = {"display_name": (EQUALS, name)}
    async for item in api.items(f"/{kind}", field, 1, filters, namespace=api.namespace):
        return item
    raise Failure(f"there is none called {name!r}, by id or name; `proa {_verb(kind)} ls` lists them")


def _verb(kind: str) -> str:
    return {"recurringruns": "recurring"}.get(kind, kind)


async def find_pipeline(api: PipelinesApi, name: str) -> Json:
    """Return a pipeline by its id or name; raise Failure."""
    try:
        if is_id(name):
            return await api.get(f"/pipelines/{name}")
        return await api.get(f"/pipelines/names/{name}", namespace=api.namespace)
    except NotFound:
        return await find_in(api, "pipelines", "pipelines", name)


async def find_experiment(api: PipelinesApi, name: str) -> Json:
    """Return an experiment by its id or name; raise Failure."""
    if is_id(name):
        return await api.get(f"/experiments/{name}")
    filters: Mapping[str, tuple[str, str]] = {"display_name": (EQUALS, name)}
    async for item in api.items("/experiments", "experiments", 1, filters, namespace=api.namespace):
        return item
    raise Failure(f"there is no experiment called {name!r}")


def shown_time(value: Object, field: str) -> str:
    """Return a time of the API's for a table: "2026-05-01 12:00:05" in UTC, "" for none."""
    text = str(value.get(field) or "")
    return "" if text.startswith("1970-01-01T00:00:00") else text[:19].replace("T", " ")
