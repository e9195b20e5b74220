"""Keep at most one of several equal processes at work: the one whose name a Lease holds, and that renews it.

Writes one Lease and Events about it. Only a contender's own clock counts: a lease has expired when it was not seen to
change for its duration, whatever times are written in it, so clocks may differ. The holder gives up when it could not
renew for a while that is shorter than the duration, and at once when it sees another holder. Between a look at the
lease and the write that follows it a process may be stopped for any time: `FencedTransport` bounds what such a one
writes when it goes on. Follows client-go's tools/leaderelection (leaderelection.go, resourcelock/leaselock.go).
"""

from __future__ import annotations

import asyncio
import logging
import random as default_random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from proa.client.protocol import Client, Object, Request, Response, Transport
from proa.objects.errors import ApiError, Conflict, NotFound, ServiceUnavailable
from proa.objects.meta import format_micro_time
from proa.objects.resource import LEASES
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)

JITTER = 1.2
READS = frozenset(("GET", "HEAD", "OPTIONS"))


class Timing(NamedTuple):
    """In seconds; upstream's defaults (component-base/config). Each is to be well below the one before it."""

    lease_duration: int = 15
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def check(self) -> None:
        """Raise ValueError where a holder could be outlived by its own belief that it leads."""
        if self.lease_duration <= self.renew_deadline:
            raise ValueError("leaseDuration must be greater than renewDeadline")
        if self.renew_deadline <= self.retry_period * JITTER:
            raise ValueError("renewDeadline must be greater than retryPeriod*JitterFactor")
        if self.retry_period <= 0:
            raise ValueError("retryPeriod must be greater than zero")


class Lock(NamedTuple):
    """The Lease that is contended for, and the name of this contender, which no other has."""

    name: str
    identity: str
    namespace: str = "kube-system"


class Seen(NamedTuple):
    """A Lease as it was last seen, and when it was first seen to be so, on the contender's own clock."""

    lease: Object
    at: float

    @property
    def spec(self) -> Object:
        """Return the lease's spec."""
        return self.lease.get("spec") or {}

    @property
    def holder(self) -> str:
        """Return who holds it, "" for nobody."""
        return self.spec.get("holderIdentity") or ""

    def is_valid(self, at: float) -> bool:
        """Tell whether its duration is not over."""
        return self.at + (self.spec.get("leaseDurationSeconds") or 0) > at


def look(known: Seen | None, lease: Object, at: float) -> Seen:
    """Return what is known after a look at the lease: its time begins anew only when something in it has changed."""
    seen = Seen(lease, at)
    return seen._replace(at=known.at) if known is not None and known.spec == seen.spec else seen


def plan(identity: str, seen: Seen | None, duration: int, at: float, now: float) -> Object | None:
    """Return the spec with which `identity` leads from now on, None while somebody else does.

    `seen` is None where there is no lease yet; `at` is on the clock of `seen`, `now` seconds since the epoch.
    """
    leads = seen is not None and seen.holder == identity
    if seen is not None and seen.holder and not leads and seen.is_valid(at):
        return None
    spec = seen.spec if seen is not None else {}
    written = format_micro_time(now)
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": duration,
        "acquireTime": spec.get("acquireTime") or written if leads else written,
        "renewTime": written,
        "leaseTransitions": (spec.get("leaseTransitions") or 0) + (seen is not None and not leads),
    }


def released(seen: Seen, now: float) -> Object:
    """Return the spec with which a holder lets go, so that the next one need not wait."""
    written = format_micro_time(now)
    return {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": written,
        "renewTime": written,
        "leaseTransitions": seen.spec.get("leaseTransitions") or 0,
    }


class LeadershipLost(Exception):
    """The lease could not be renewed in time, or somebody else has it."""


class LeaderElector:
    """One contender. The event loop's clock measures; `now` returns seconds since the epoch, for what is written."""

    def __init__(
        self,
        client: Client,
        events: EventRecorder,
        lock: Lock,
        timing: Timing = Timing(),  # noqa: B008 - a constant
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = default_random.random,
    ) -> None:
        timing.check()
        self._client = client
        self._events = events
        self._lock = lock
        self._timing = timing
        self._now = now
        self._random = random
        self._seen: Seen | None = None
        self._told = ("", "")

    @property
    def holder(self) -> str:
        """Return who was last seen to lead, "" for nobody."""
        return self._seen.holder if self._seen is not None else ""

    @property
    def leads(self) -> bool:
        """Tell whether this contender leads and nobody else can: its lease is not over."""
        return self.holder == self._lock.identity and self._seen is not None and self._seen.is_valid(_clock())

    def seconds_overdue(self) -> float:
        """Return since when a lease that this contender believes to hold is over; not above 0 where all is well."""
        if self._seen is None or self.holder != self._lock.identity:
            return 0.0
        return _clock() - self._seen.at - (self._seen.spec.get("leaseDurationSeconds") or 0)

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then run `lead` for as long as it is held; raise LeadershipLost when it is not any more.

        `lead` is cancelled, and has ended, before the lease is let go: when this is cancelled, when `lead` itself ends
        (what it raises is raised), and when the lease is lost.
        """
        await self._acquire()
        self._record("became leader")
        leading = asyncio.ensure_future(lead())
        renewing = asyncio.create_task(self._keep(), name=f"lease {self._lock.name}")
        try:
            await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (leading, renewing):
                if task.done():
                    task.result()
        finally:
            for task in (
                leading,
                renewing,
            ):  # renewed while it is ended, so that nobody else begins meanwhile
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            self._record("stopped leading")
            await self._release()

    # Contending

    async def _acquire(self) -> None:
        while not await self._try():
            self._tell(self.holder)
            await asyncio.sleep(self._timing.retry_period * (1 + JITTER * self._random()))
        self._tell(self.holder)

    async def _keep(self) -> None:
        """Renew for ever; raise LeadershipLost."""
        while True:
            await asyncio.sleep(self._timing.retry_period)
            try:
                async with asyncio.timeout(self._timing.renew_deadline):
                    while not await self._try():
                        if self.holder not in ("", self._lock.identity):
                            raise LeadershipLost(f"{self._where}: {self.holder} leads now")
                        await asyncio.sleep(self._timing.retry_period)
            except TimeoutError:
                seconds = f"{self._timing.renew_deadline:g} s"
                raise LeadershipLost(f"{self._where}: could not be renewed within {seconds}") from None

    async def _try(self) -> bool:
        """Take the lease, or renew it; return whether it is ours. A request takes half of the deadline at most."""
        try:
            async with asyncio.timeout(self._timing.renew_deadline / 2):
                return await self._renew_as_seen() or await self._look_and_write()
        except TimeoutError:
            self._tell("", "no answer in time")
        except Conflict:  # another contender was faster, or renewed in time
            return False
        except ApiError as error:
            self._tell("", str(error))
        return False

    async def _renew_as_seen(self) -> bool:
        """Renew without another look, as the holder usually can."""
        if not self.leads:
            return False
        try:
            return await self._write(self._seen)
        except ApiError:  # look again
            return False

    async def _look_and_write(self) -> bool:
        try:
            found = await self._client.get(LEASES, self._lock.name, self._lock.namespace)
        except NotFound:
            return await self._write(None)
        self._seen = look(self._seen, found, _clock())
        return await self._write(self._seen)

    async def _write(self, seen: Seen | None) -> bool:
        """Write what makes us lead, unless somebody else does; the new time runs from before it was sent."""
        at = _clock()
        spec = plan(self._lock.identity, seen, self._timing.lease_duration, at, self._now())
        if spec is None:
            return False
        if seen is None:
            metadata = {"name": self._lock.name, "namespace": self._lock.namespace}
            lease = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": metadata,
                "spec": spec,
            }
            self._seen = Seen(await self._client.create(LEASES, lease, self._lock.namespace), at)
        else:
            self._seen = Seen(await self._client.update(LEASES, {**seen.lease, "spec": spec}), at)
        return True

    async def _release(self) -> None:
        """Let go of the lease, if it is still ours; say so where that cannot be."""
        try:
            async with asyncio.timeout(self._timing.renew_deadline):
                while not await self._try_release():
                    pass
        except (ApiError, TimeoutError) as error:
            logger.warning("lease not released lease=%s error=%s", self._where, error or "no answer in time")

    async def _try_release(self) -> bool:
        """Return False where a renewal that was under way came between."""
        seen = Seen(await self._client.get(LEASES, self._lock.name, self._lock.namespace), _clock())
        if seen.holder != self._lock.identity:
            return True
        spec = released(seen, self._now())
        try:
            self._seen = Seen(await self._client.update(LEASES, {**seen.lease, "spec": spec}), _clock())
        except Conflict:
            return False
        return True

    # Telling

    @property
    def _where(self) -> str:
        return f"{self._lock.namespace}/{self._lock.name}"

    def _record(self, what: str) -> None:
        lease = self._seen.lease if self._seen is not None else {}
        self._events.event(lease, "Normal", "LeaderElection", f"{self._lock.identity} {what}")
        logger.info("%s lease=%s identity=%s", what, self._where, self._lock.identity)

    def _tell(self, holder: str, problem: str = "") -> None:
        """Log who leads, or why that is not known, once for as long as it stays so."""
        if self._told == (holder, problem):
            return
        self._told = holder, problem
        if problem:
            logger.warning("lease not read or written lease=%s error=%s", self._where, problem)
        elif holder != self._lock.identity:
            logger.info("waiting lease=%s leader=%s", self._where, holder or "nobody yet")


class FencedTransport:
    """A `client.protocol.Transport` that refuses to write unless the elector leads.

    A process that was stopped for longer than its lease, and goes on, finds out before it has written anything.
    """

    def __init__(self, transport: Transport, elector: LeaderElector) -> None:
        self._transport = transport
        self._elector = elector

    async def send(self, request: Request) -> Response:
        """Send it; raise ServiceUnavailable where it is a write and somebody else may lead."""
        if request.method not in READS and not self._elector.leads:
            raise ServiceUnavailable("this process does not lead any more: nothing is written")
        return await self._transport.send(request)

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()


def _clock() -> float:
    return asyncio.get_running_loop().time()
