"""What the actions on experiments share: the objects, and what is said where there are none."""

from __future__ import annotations

import argparse

from proa.cli import Failure
from proa.cli.connecting import is_unknown_kind
from proa.cli.connecting import list_all as list_any
from proa.cli.experiments.facts import Experiment, read_experiment
from proa.client.protocol import Client, Object
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, TRIALS
from proa.objects.errors import NotFound
from proa.objects.resource import Resource


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
    if is_unknown_kind(error):
        raise Failure(
            "this cluster does not know Experiments: neither Katib nor Proa's tuning serves it "
            "(`proa up` does, but for `--without tuning`)"
        )


async def trials_of(client: Client, namespace: str, name: str) -> list[Object]:
    """Return all Trials of an experiment."""
    return await list_all(client, TRIALS, namespace, f"{EXPERIMENT_LABEL}={name}")


async def list_all(
    client: Client, resource: Resource, namespace: str | None, label_selector: str = ""
) -> list[Object]:
    """Return a list, page by page; raise Failure where the cluster does not know the kind."""
    try:
        return await list_any(client, resource, namespace, label_selector)
    except NotFound as error:
        check_known(error)
        raise


async def read(client: Client, options: argparse.Namespace, name: str) -> Experiment:
    """Return what an Experiment and its Trials say; raise Failure."""
    experiment = await find(client, options, name)
    return read_experiment(experiment, await trials_of(client, options.namespace, name))
