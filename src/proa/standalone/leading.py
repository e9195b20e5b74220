"""Run a component's work in a process of its own, only while it leads, until the process is told to stop.

Who loses the lease goes back to waiting for it, with nothing left of what it knew; upstream's processes end there, for
others to start them again. Follows cmd/kube-controller-manager/app/controllermanager.go (leaderElectAndRun).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

from proa.client.account import AccountTransport
from proa.client.api import ApiClient
from proa.client.kubeconfig import Cluster, make_transport
from proa.client.protocol import Client, Transport
from proa.httpd.server import HttpServer
from proa.objects.quick_dataclass import dataclass
from proa.observability.metrics import Gauge
from proa.process import told_to_stop
from proa.reconcile.events import EventSink
from proa.reconcile.leader_election import FencedTransport, LeaderElector, LeadershipLost, Lock, Timing
from proa.standalone.health import HealthHandler

logger = logging.getLogger(__name__)

LATE_SECONDS = 20.0
"""A leader that has not noticed for so long that its lease is over is not well (HealthzAdaptor's default)."""


class Election(NamedTuple):
    """Whether to contend for a lease, for which, and how."""

    lease: str
    namespace: str = "kube-system"
    timing: Timing = Timing()
    is_on: bool = True


@dataclass(frozen=True, slots=True)
class Connections:
    """What a component's work may use while it leads. Writes of a process that does not lead any more are refused."""

    client: Client
    client_of: Callable[[str], Client]
    """Return the client of a service account of kube-system, or `client` where accounts are not asked for."""


Work = Callable[[Connections], Awaitable[None]]


class Component:
    """One process. `name` is upstream's, by which the server and its logs know it; `event_source` tells who leads."""

    def __init__(
        self,
        name: str,
        event_source: str,
        cluster: Cluster,
        election: Election,
        *,
        uses_accounts: bool = False,
        depths: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`depths` tells how many keys wait in each queue, for the metrics."""
        self.identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        self._name = name
        self._event_source = event_source
        self._cluster = cluster
        self._election = election
        self._uses_accounts = uses_accounts
        self._depths = depths
        self._elector: LeaderElector | None = None

    @property
    def leader(self) -> str:
        """Return who was last seen to lead, "" for nobody."""
        return self._elector.holder if self._elector is not None else ""

    async def run(self, work: Work, listener: socket.socket | None, when_started: Callable[[], None]) -> None:
        """Serve health on `listener` and lead whenever it can, until SIGTERM or SIGINT; raise what the work raises."""
        stop = told_to_stop()
        async with AsyncExitStack() as stack:
            if listener is not None:
                http = HttpServer(self._health())
                stack.push_async_callback(http.close)
                await http.serve(listener)
            transport = make_transport(self._cluster)
            stack.push_async_callback(transport.close)
            working = asyncio.create_task(self._work(work, transport, stack), name=self._name)
            stopping = asyncio.create_task(stop.wait())
            when_started()
            try:
                await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
            finally:
                for task in (working, stopping):
                    task.cancel()
                await asyncio.gather(working, stopping, return_exceptions=True)

    async def _work(self, work: Work, transport: Transport, stack: AsyncExitStack) -> None:
        """Work for ever, whenever it leads."""
        accounts: Transport = transport
        if self._uses_accounts:
            accounts = make_transport(self._cluster.without_user())
            stack.push_async_callback(accounts.close)
        if not self._election.is_on:
            return await work(self._connections(transport, accounts))
        client = self._client(transport)
        events = EventSink(client, time.time)
        stack.push_async_callback(events.stop)
        while True:
            elector = self._elector = LeaderElector(
                client,
                events.recorder(self._event_source),
                Lock(self._election.lease, self.identity, self._election.namespace),
                self._election.timing,
            )
            led = self._connections(FencedTransport(transport, elector), FencedTransport(accounts, elector))
            try:
                await elector.run(partial(work, led))
            except LeadershipLost as lost:
                logger.error("leader election lost, waiting for it again: %s", lost)

    def _connections(self, transport: Transport, accounts: Transport) -> Connections:
        client = self._client(transport)
        if not self._uses_accounts:
            return Connections(client, lambda account: client)
        return Connections(client, lambda account: self._client(AccountTransport(accounts, client, account)))

    def _client(self, transport: Transport) -> Client:
        return ApiClient(transport, self._name, waits=True)

    # Health

    def _health(self) -> HealthHandler:
        metrics = [
            Gauge(
                "leader_election_master_status",
                "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates "
                "master. 'name' is the string used to identify the lease.",
                label="name",
                read_all=lambda: {self._election.lease: float(self._leads())} if self._election.is_on else {},
            ),
            Gauge(
                "workqueue_depth", "Current depth of workqueue", label="name", read_all=lambda: self._depths()
            ),
        ]
        return HealthHandler({"leaderElection": self._problem}, metrics)

    def _leads(self) -> bool:
        return self._elector is not None and self._elector.leads

    def _problem(self) -> str:
        if self._elector is None or self._elector.seconds_overdue() <= LATE_SECONDS:
            return ""
        return f"failed election to renew leadership on lease {self._election.lease}"
