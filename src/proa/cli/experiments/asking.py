"""What the actions on experiments share: options, one connection a command, and the objects."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from proa.cli import Failure
from proa.cli.actions import add_action as add_any_action
from proa.cli.experiments.facts import Experiment, read_experiment
from proa.client.protocol import Client, Object
from proa.home import find_home, option_for
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, TRIALS
from proa.objects.errors import ApiError, NotFound

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


async def find(client: Client, options: argparse.Namespace, name: str) -> Object:
    """Return an Experiment; raise Failure where there is none."""
    try:
        return await client.get(EXPERIMENTS, name, options.namespace)
    except NotFound as error:
        check_known(error)
        raise Failure(
            f"there is no experiment {name!r} in namespace {options.namespace}; `proa experiments ls -A` lists all"
        ) from None


def check_known(error: NotFound) -> None:
    """Raise Failure where the kind itself is what was not found."""
    if "page not found" in error.message or "could not find the requested resource" in error.message:
        raise Failure(
            "this cluster does not know Experiments: neither Katib nor Proa's tuning serves it "
            "(`proa up` does, but for `--without tuning`)"
        )


async def trials_of(client: Client, namespace: str, name: str) -> list[Object]:
    """Return all Trials of an experiment."""
    return await list_all(client, TRIALS, namespace, f"{EXPERIMENT_LABEL}={name}")


async def list_all(
    client: Client, resource: Any, namespace: str | None, label_selector: str = ""
) -> list[Object]:
    """Return a list, page by page."""
    found: list[Object] = []
    token = ""
    while True:
        try:
            page = await client.list(
                resource, namespace, label_selector=label_selector, limit=PAGE, continue_token=token
            )
        except NotFound as error:
            check_known(error)
            raise
        found += page.items
        token = page.continue_token
        if not token:
            return found


async def read(client: Client, options: argparse.Namespace, name: str) -> Experiment:
    """Return what an Experiment and its Trials say; raise Failure."""
    experiment = await find(client, options, name)
    return read_experiment(experiment, await trials_of(client, options.namespace, name))
