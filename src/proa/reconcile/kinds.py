"""Find the resource of a kind that an object names (a scale target, a described object): a RESTMapper.

What the server offers is asked for when a kind is first needed, and again for one that was not known, but not all the
time. Follows apimachinery/pkg/api/meta/restmapper.go and client-go's restmapper/discovery.go.
"""

from __future__ import annotations

from collections.abc import Callable

from proa.client.protocol import Client
from proa.objects.resource import Resource
from proa.reconcile.discovery import discover

RETRY_SECONDS = 10.0
"""A kind that is not there is looked for again after this."""


class UnknownKind(Exception):
    """The server has no such kind; the message is upstream's."""


class Kinds:
    """The kinds that a server offers. `now` returns seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[tuple[str, str], Resource] = {}
        self._asked = float("-inf")

    async def find(self, client: Client, api_version: str, kind: str) -> Resource:
        """Return the resource of that group and kind, in the version that the server prefers; raise UnknownKind."""
        group, _, version = api_version.rpartition("/")
        key = group, kind
        if key not in self._known and self._now() - self._asked >= RETRY_SECONDS:
            found = await discover(client)
            self._asked = self._now()
            self._known = {(s.resource.group, s.resource.kind): s.resource for s in found.served}
        if key not in self._known:
            where = f'"{group}"' if group else f'version "{version}"'
            raise UnknownKind(
                f'no matches for kind "{kind}" in {"group" if group else ""}{" " if group else ""}{where}'
            )
        return self._known[key]
