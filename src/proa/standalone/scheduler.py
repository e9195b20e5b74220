"""Schedule pods from a process of its own. Follows cmd/kube-scheduler/app/server.go."""

from __future__ import annotations

import random
import time

from proa.reconcile.events import EventSink
from proa.reconcile.informer import InformerFactory
from proa.scheduler.configuration import Configuration
from proa.scheduler.cycle import DEFAULT_CONFIGURATION, DEFAULT_PROFILE, Scheduler
from proa.standalone.leading import Connections

NAME = "kube-scheduler"
EVENT_SOURCE = DEFAULT_PROFILE


async def work(connections: Connections, configuration: Configuration = DEFAULT_CONFIGURATION) -> None:
    """Run a scheduler until cancelled; raise what it fails with."""
    client = connections.client
    informers = InformerFactory(client)
    events = EventSink(client, time.time)
    scheduler = Scheduler(
        client, informers, events.recorder, time.time, random.random, configuration=configuration
    )
    try:
        await scheduler.run()
    finally:
        await informers.stop()
        await events.stop()
