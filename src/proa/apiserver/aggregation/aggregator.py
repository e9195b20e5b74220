"""Keep APIServices true: local ones registered, remote ones checked; and know what remote servers offer.

One task (`run`) works while the server runs. It sleeps until something that it looks at changes, and looks at remote
servers again from time to time, as upstream's controllers do. What talks to them is imported for the first of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from proa.apiserver.aggregation.embedded import NOWHERE, EmbeddedApi, as_remote
from proa.apiserver.aggregation.identity import ProxyIdentity
from proa.apiserver.aggregation.registrations import USER, register
from proa.apiserver.aggregation.remotes import Remote, Remotes
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.webhooks.resolver import ServiceResolver
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ApiError, Conflict, NotFound
from proa.objects.meta import format_time, labels
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import API_SERVICES, ENDPOINT_SLICES, SERVICES, Resource
from proa.store.protocol import Change, StoreError, Watch, WatchOverflow

if TYPE_CHECKING:
    from proa.apiserver.aggregation.availability import Verdict
    from proa.apiserver.aggregation.upstream import Upstream

_log = logging.getLogger(__name__)
RECHECK_SECONDS = 30.0
RETRY_SECONDS = 2.0
"""How soon a remote server that failed is asked again."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a remote server last said that it has."""

    document: Object
    resources: list[Object]
    openapi: str
    """The URL of its OpenAPI v3 document, "" where it has none."""


class Aggregator:
    """The remote group versions of one API server."""

    def __init__(
        self, catalog: Catalog, resolver: ServiceResolver, identity: ProxyIdentity | None = None
    ) -> None:
        self._catalog = catalog
        self._resolver = resolver
        self._identity = identity
        self._upstream: Upstream | None = None
        self._remotes = Remotes(catalog)
        self._embedded: dict[tuple[str, str], EmbeddedApi] = {}
        self._embedded_remotes: dict[tuple[str, str], Remote] = {}
        self._offers: dict[str, Offer] = {}
        self._offered = 0
        self._changed = asyncio.Event()

    def embed(self, api: EmbeddedApi) -> None:
        """Have a part of this process serve a group version, unless an APIService names another server for it."""
        self._embedded[api.group, api.version] = api
        self._embedded_remotes[api.group, api.version] = as_remote(api)
        self._offered += 1
        self._changed.set()

    # What requests need.

    @property
    def generation(self) -> tuple[int, int]:
        """Return what is another value once remotes, or what they offer, have changed."""
        self._remotes.all()
        return self._remotes.generation, self._offered

    def remotes(self) -> Mapping[tuple[str, str], Remote]:
        """Return the remote group versions; one that this server has itself is not among them."""
        found = {**self._embedded_remotes, **self._remotes.all()}
        own = self._catalog.group_versions
        return {key: remote for key, remote in found.items() if key not in own}

    def find(self, group: str, version: str) -> Remote | None:
        """Return who else serves a group version that this server does not serve, None where nobody does."""
        key = group, version
        return self._remotes.all().get(key) or self._embedded_remotes.get(key)

    def resources_of(self, remote: Remote) -> list[Object]:
        """Return a remote's resources in the form of aggregated discovery, as far as it ever said."""
        if remote.service == NOWHERE:
            from proa.apiserver.aggregation.discovery import aggregated_resources

            return aggregated_resources(self._embedded[remote.group, remote.version].document())
        offer = self._offers.get(remote.name)
        return offer.resources if offer else []

    def openapi_paths(self) -> dict[str, str]:
        """Return where the OpenAPI v3 documents of remotes are that have one, by the path that each covers."""
        found = self._remotes.all()
        return {
            remote.path.strip("/"): offer.openapi
            for remote in found.values()
            if (offer := self._offers.get(remote.name)) and offer.openapi
        }

    async def proxy(self, request: Request, remote: Remote) -> Response:
        """Return the remote server's answer."""
        if remote.service == NOWHERE:
            return await self._embedded[remote.group, remote.version].handle(request)
        from proa.apiserver.aggregation.proxy import pass_on

        return await pass_on(request, remote, self._connections())

    def _connections(self) -> Upstream:
        if self._upstream is None:
            from proa.apiserver.aggregation.upstream import Upstream

            self._upstream = Upstream(self._resolver, self._identity)
        return self._upstream

    # What runs beside them.

    async def run(self) -> None:
        """Work until cancelled."""
        self._catalog.listeners.append(self._changed.set)
        async with asyncio.TaskGroup() as tasks:
            for resource in (API_SERVICES, SERVICES, ENDPOINT_SLICES):
                tasks.create_task(self._follow(resource))
            while True:
                self._changed.clear()
                is_well = await self._try_sync()
                seconds = RETRY_SECONDS if not is_well else RECHECK_SECONDS if self._remotes.all() else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._changed.wait()

    async def _follow(self, resource: Resource) -> None:
        """Wake the work when objects of a resource change; services matter only where there are remotes."""
        prefix = f"/registry/{resource.group or 'core'}/{resource.plural}/"
        while True:
            watch: Watch = self._catalog.store.watch(prefix, after_revision=self._catalog.store.revision)
            try:
                async for burst in watch:
                    if resource == API_SERVICES:
                        matters = any(map(_is_more_than_status, burst))
                    else:
                        matters = bool(self._remotes.all())
                    if matters:
                        self._changed.set()
                return  # the store was closed
            except WatchOverflow:
                self._changed.set()
            finally:
                watch.close()

    async def _try_sync(self) -> bool:
        try:
            return await self.sync()
        except (ApiError, StoreError) as error:
            _log.warning("APIServices cannot be kept up to date now, will try again error=%s", error)
            return False

    async def sync(self) -> bool:
        """Register what is served here, and check every remote; return whether all are available."""
        await register(self._catalog, self._embedded.keys())
        remotes = [*self._remotes.all().values()]
        are_available = await asyncio.gather(*map(self._check, remotes))
        for name in self._offers.keys() - {remote.name for remote in remotes}:
            del self._offers[name]
        return all(are_available)

    async def _check(self, remote: Remote) -> bool:
        """Look at a remote server and write what was found; return whether it is available."""
        from proa.apiserver.aggregation.availability import (
            PASSED,
            NotAvailable,
            Verdict,
            ask,
            find_openapi,
            judge,
        )

        namespace, name = remote.service
        service = self._catalog.of(SERVICES).find(namespace, name)
        verdict = judge(remote, service, self._resolver.slices(namespace, name))
        if verdict is None:
            try:
                document = await ask(remote, self._connections())
            except NotAvailable as error:
                verdict = Verdict("False", "FailedDiscoveryCheck", str(error))
            else:
                verdict = PASSED
                self._take_offer(remote, document, await find_openapi(remote, self._connections()))
        await self._write(remote, verdict)
        return verdict == PASSED

    def _take_offer(self, remote: Remote, document: Object, openapi: str) -> None:
        from proa.apiserver.aggregation.discovery import aggregated_resources

        had = self._offers.get(remote.name)
        if had is None or (had.document, had.openapi) != (document, openapi):
            self._offers[remote.name] = Offer(document, aggregated_resources(document), openapi)
            self._offered += 1

    async def _write(self, remote: Remote, verdict: Verdict) -> None:
        from proa.apiserver.aggregation.availability import with_verdict

        registry = self._catalog.of(API_SERVICES)
        now = format_time(self._catalog.now())
        try:
            await registry.update(
                "",
                remote.name,
                lambda old: with_verdict(old, verdict, now),
                USER,
                subresource="status",
                unconditional=True,
            )
        except (NotFound, Conflict):
            self._changed.set()  # another round looks at it


def _is_more_than_status(change: Change) -> bool:
    """Tell whether an APIService came, went, or says something else now."""
    if change.value is None or change.previous is None:
        return True
    new, old = orjson.loads(change.value), orjson.loads(change.previous)
    return bool(new.get("spec") != old.get("spec") or labels(new) != labels(old))
