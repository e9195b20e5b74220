"""Keep the endpoints of default/kubernetes equal to the API servers that live, where there are several.

Each server has a Lease in kube-system, as upstream's have (pkg/controlplane/controller/apiserverleasegc), which says
where it is. It counts for as long as it is seen to be renewed, by the clock of who looks; a server that ends takes its
own away. Writes Leases, Endpoints and EndpointSlices. Follows pkg/controlplane/reconcilers/lease.go.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from proa.apiserver.bootstrap import ensure
from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError, NotFound
from proa.objects.resource import ENDPOINT_SLICES, ENDPOINTS, LEASES
from proa.reconcile.leader_election import Seen, look

SPACE = "kube-system"
NAME = "kubernetes"
IDENTITY = "apiserver.kubernetes.io/identity"
ADVERTISED = "proa.local/advertised-address"
LEASE_SECONDS = 15
RENEW_SECONDS = 5.0
FORGOTTEN_SECONDS = 3600.0
"""The Lease of a server that has been away for so long is removed, as upstream does."""

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where clients in the cluster reach one API server."""

    address: str
    port: int


def make_lease(place: Place, holder: str, now: float) -> Object:
    """Return the Lease of a server at a place."""
    host = socket.gethostname()
    digest = hashlib.sha256(f"{host}/{place.address}/{place.port}".encode()).hexdigest()
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {
            "name": f"apiserver-{digest[:26]}",
            "namespace": SPACE,
            "labels": {IDENTITY: "kube-apiserver", "kubernetes.io/hostname": host},
            "annotations": {ADVERTISED: f"{place.address} {place.port}"},
        },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": meta.format_micro_time(now),
        },
    }


def place_of(lease: Object) -> Place | None:
    """Return where a Lease's server is, None where that is not said."""
    address, _, port = meta.annotations(lease).get(ADVERTISED, "").partition(" ")
    return Place(address, int(port)) if address and port.isdigit() else None


def make_subsets(places: Iterable[Place]) -> list[Object]:
    """Return the subsets of the Endpoints: one for each port."""
    return [
        {
            "addresses": [{"ip": address} for address in addresses],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        for port, addresses in _by_port(places)
    ]


def make_slices(places: Iterable[Place]) -> list[Object]:
    """Return the EndpointSlices: one for each port, the first by the name that every cluster has."""
    return [
        {
            "metadata": {
                "name": NAME if number == 0 else f"{NAME}-{port}",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        for number, (port, addresses) in enumerate(_by_port(places))
    ]


def _by_port(places: Iterable[Place]) -> list[tuple[int, list[str]]]:
    ordered = sorted(set(places), key=lambda place: (place.port, place.address))
    return [
        (port, [place.address for place in found])
        for port, found in groupby(ordered, lambda place: place.port)
    ]


class Members:
    """One of several API servers, and what it sees of the others. `now` returns seconds since the epoch."""

    def __init__(
        self, client: Client, place: Place, holder: str, now: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._place = place
        self._holder = holder
        self._now = now
        self._seen: dict[str, Seen] = {}

    async def keep(self) -> None:
        """Say that this server lives, and bring the endpoints to what is known; raise ApiError."""
        lease = make_lease(self._place, self._holder, self._now())
        await ensure(self._client, LEASES, lease, SPACE, ("spec",))
        await self._write(await self._look())

    async def run(self) -> None:
        """Do so for ever."""
        while True:
            try:
                await self.keep()
            except ApiError as error:
                logger.warning("endpoints of the API servers not kept error=%s", error)
            await asyncio.sleep(RENEW_SECONDS)

    async def leave(self) -> None:
        """Say that this server ends; raise ApiError."""
        lease = make_lease(self._place, self._holder, self._now())
        try:
            await self._client.delete(LEASES, meta.name(lease), SPACE)
        except NotFound:
            return
        others = await self._look()
        if others:
            await self._write(others)

    async def _look(self) -> list[Place]:
        """Return where servers live, by what is seen of their Leases; one that is long gone loses its own."""
        at = asyncio.get_running_loop().time()
        found = await self._client.list(LEASES, SPACE, label_selector=f"{IDENTITY}=kube-apiserver")
        self._seen = {
            meta.name(lease): look(self._seen.get(meta.name(lease)), lease, at) for lease in found.items
        }
        for name, seen in self._seen.items():
            if at - seen.at > FORGOTTEN_SECONDS:
                await self._client.delete(LEASES, name, SPACE, uid=meta.uid(seen.lease))
        living = [place_of(seen.lease) for seen in self._seen.values() if seen.is_valid(at)]
        return [place for place in living if place is not None]

    async def _write(self, places: list[Place]) -> None:
        endpoints = {
            "metadata": {
                "name": NAME,
                "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": make_subsets(places),
        }
        await ensure(self._client, ENDPOINTS, endpoints, "default", ("subsets",))
        wanted = make_slices(places)
        for each in wanted:
            await ensure(self._client, ENDPOINT_SLICES, each, "default", ("endpoints", "ports"))
        names = {meta.name(each) for each in wanted}
        selector = f"kubernetes.io/service-name={NAME}"
        found = await self._client.list(ENDPOINT_SLICES, "default", label_selector=selector)
        for each in found.items:
            if meta.name(each).startswith(f"{NAME}-") and meta.name(each) not in names:
                await self._client.delete(ENDPOINT_SLICES, meta.name(each), "default", uid=meta.uid(each))
