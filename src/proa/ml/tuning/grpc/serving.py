"""Serve the DBManager at its door, for as long as the operator works."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from proa.client.protocol import Client
from proa.ml.grpc.connection import Limits
from proa.ml.grpc.door import Door
from proa.ml.grpc.server import GrpcServer
from proa.ml.tuning.grpc.callers import Callers
from proa.ml.tuning.grpc.db_manager import DbManager
from proa.ml.tuning.grpc.messages import KATIB
from proa.ml.tuning.kinds import TRIAL_LABEL
from proa.ml.tuning.observations.observations import Observations
from proa.objects.resource import PODS
from proa.reconcile.informer import Informer
from proa.reconcile.reflector import Scope

LIMITS = Limits(advice="report fewer points at once")


async def serve_db_manager(
    stack: AsyncExitStack,
    client: Client,
    observations: Observations,
    door: Door,
) -> None:
    """Begin to answer; what is begun ends with the stack."""
    pods = Informer(client, Scope(PODS, label_selector=TRIAL_LABEL))
    following = asyncio.create_task(pods.run(), name="trials' pods")
    stack.push_async_callback(_cancel, following)
    await pods.wait_synced()
    server = GrpcServer(KATIB, DbManager(client, observations, Callers(client, pods)).methods, LIMITS)
    door.open(server)
    stack.push_async_callback(door.shut)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
