"""Find owners that are not where their dependents name them, in another namespace, to tell whose mistake it was.

A dependent whose owner's uid belongs to another namespace is as good as one without that owner, and its namespace gets
a Warning event. The graph knows only what has dependents, so the owner's kind is searched: all that is asked for at a
time in one pass, page by page, and no more than a tenth of the time. Follows reportInvalidNamespaceOwnerRef of
upstream's pkg/controller/garbagecollector/graph_builder.go, which finds it in its graph of everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from proa.client.protocol import Client, Object
from proa.controllers.garbage_collector.graph import Identity, Node, Reference
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.resource import Resource

logger = logging.getLogger(__name__)

REASON = "OwnerRefInvalidNamespace"
PAGE_SIZE = 500
MAX_ASKED = 1_000
"""More questions than this at a time are not answered: they are for an event only."""
REST_FACTOR = 9.0

Report = Callable[[Node, Reference, Identity], None]


class Search:
    """Questions for owners by uid; `run` answers them, by `report`, where the owner is somewhere else."""

    def __init__(self, report: Report, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._report = report
        self._sleep = sleep
        self._asked: dict[Resource, dict[str, list[tuple[Node, Reference]]]] = {}
        self._count = 0
        self._has_questions = asyncio.Event()

    def ask(self, resource: Resource, item: Node, reference: Reference) -> None:
        """Look for an object of that resource with the reference's uid, in whichever namespace, before long."""
        if self._count < MAX_ASKED:
            self._count += 1
            self._asked.setdefault(resource, {}).setdefault(reference.uid, []).append((item, reference))
            self._has_questions.set()

    async def run(self, client: Client) -> None:
        """Answer questions, for ever."""
        while True:
            await self._has_questions.wait()
            began = perf_counter()
            await self._answer(client)
            await self._sleep(REST_FACTOR * (perf_counter() - began))

    async def _answer(self, client: Client) -> None:
        asked, self._asked, self._count = self._asked, {}, 0
        self._has_questions.clear()
        for resource, questions in asked.items():
            try:
                await self._search(client, resource, questions)
            except ApiError as error:
                logger.warning("search failed resource=%s error=%s", resource.qualified_name, error)

    async def _search(
        self, client: Client, resource: Resource, questions: dict[str, list[tuple[Node, Reference]]]
    ) -> None:
        token = ""
        while True:
            page = await client.list(resource, limit=PAGE_SIZE, continue_token=token, metadata_only=True)
            for obj in page.items:
                identity = Identity(resource, meta.namespace(obj), meta.name(obj))
                for item, reference in questions.pop(meta.uid(obj), ()):
                    if identity.namespace not in ("", item.namespace):
                        self._report(item, reference, identity)
            token = page.continue_token
            if not token or not questions:
                return


def message(item: Node, reference: Reference) -> str:
    """Return what upstream's event says."""
    owner = (
        f"[{reference.api_version}/{reference.kind}, namespace: {item.namespace}, name: {reference.name}, "
        f"uid: {reference.uid}]"
    )
    return f'ownerRef {owner} does not exist in namespace "{item.namespace}"'


def about(item: Node) -> Object:
    """Return what the event is about."""
    return {
        "apiVersion": item.resource.api_version,
        "kind": item.resource.kind,
        "metadata": {"name": item.name, "namespace": item.namespace, "uid": item.uid},
    }
