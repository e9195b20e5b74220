"""What the actions on models share: the objects, and what is said where there are none."""

from __future__ import annotations

import argparse
import asyncio
from typing import NamedTuple

from proa.cli import Failure
from proa.cli.connecting import is_unknown_kind, list_all
from proa.cli.models.facts import Served, by_service, read_served
from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import INFERENCE_SERVICES, SERVICE_LABEL
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import DEPLOYMENTS, PODS


class Found(NamedTuple):
    """An InferenceService, and what it says together with its Deployments and pods."""

    service: Object
    served: Served


async def find(client: Client, options: argparse.Namespace, name: str) -> Object:
    """Return an InferenceService; raise Failure where there is none."""
    try:
        return await client.get(INFERENCE_SERVICES, name, options.namespace)
    except NotFound as error:
        check_known(error)
        raise Failure(
            f"there is no model {name!r} in namespace {options.namespace}; `proa models ls -A` lists all"
        ) from None


def check_known(error: NotFound) -> None:
    """Raise Failure where the kind itself is what was not found."""
    if is_unknown_kind(error):
        raise Failure(
            "this cluster does not know InferenceServices: neither KServe nor Proa's serving serves it "
            "(`proa up` does, but for `--without serving`)"
        )


async def read(client: Client, options: argparse.Namespace, name: str) -> Found:
    """Return one InferenceService with what belongs to it; raise Failure."""
    service = await find(client, options, name)
    selector = f"{SERVICE_LABEL}={name}"
    deployments, pods = await asyncio.gather(
        *(list_all(client, kind, options.namespace, selector) for kind in (DEPLOYMENTS, PODS))
    )
    return _found(service, deployments, pods)


async def read_all(client: Client, namespace: str | None) -> list[Found]:
    """Return all InferenceServices of a namespace, or of all."""
    try:
        services = await list_all(client, INFERENCE_SERVICES, namespace)
    except NotFound as error:
        check_known(error)
        raise
    deployments, pods = await asyncio.gather(
        *(list_all(client, kind, namespace, SERVICE_LABEL) for kind in (DEPLOYMENTS, PODS))
    )
    return [_found(service, deployments, pods) for service in services]


def _found(service: Object, deployments: list[Object], pods: list[Object]) -> Found:
    key = meta.key_of(service)
    return Found(
        service, read_served(service, by_service(deployments).get(key, ()), by_service(pods).get(key, ()))
    )
