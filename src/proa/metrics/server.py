"""The metrics APIs of a cluster: what serves them and the tasks behind them, wired on shared informers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proa.client.protocol import Client
from proa.metrics.custom_metrics import CustomMetrics
from proa.metrics.external_metrics import ExternalMetrics
from proa.metrics.pod_metrics import PodMetricsReader
from proa.metrics.resource_metrics import ResourceMetrics
from proa.metrics.scraper import Scraper
from proa.objects.resource import NODES, PODS, SERVICES
from proa.reconcile.informer import InformerFactory

ACCOUNT = "metrics-server"
"""The service account of kube-system whose role allows what is read here."""


class MetricsServer:
    """`apis` are to be served; `run` keeps what they show fresh. `now` returns epoch seconds."""

    def __init__(self, client: Client, informers: InformerFactory, now: Callable[[], float]) -> None:
        nodes, pods, services = map(informers.informer, (NODES, PODS, SERVICES))
        self._informers = informers
        self._scraper = Scraper(client, nodes, now)
        reader = PodMetricsReader(client, now)
        self.apis = (
            ResourceMetrics(self._scraper, nodes, pods, now),
            CustomMetrics(reader, pods, services),
            ExternalMetrics(reader, pods),
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.wait_synced()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._scraper.run())
