"""What a part of this process offers that serves a group version as a server behind a Service would.

Whoever installs such a server (metrics-server, an adapter for custom metrics) registers it with an APIService of the
same name: from then on the requests go there.
"""

from __future__ import annotations

from typing import Protocol

from proa.apiserver.aggregation.remotes import Remote
from proa.client.protocol import Object, Request, Response

NOWHERE = ("", "")
"""The service of a group version that is served in this process."""
PRIORITY = (100, 100)
"""What metrics-server and its like ask for in their APIServices."""


class EmbeddedApi(Protocol):
    """One group version. Requests to it are authenticated and authorized already."""

    group: str
    version: str

    def document(self) -> Object:
        """Return the APIResourceList."""

    async def handle(self, request: Request) -> Response:
        """Answer a request for the group version's path or what is below it, refusals included."""


def as_remote(api: EmbeddedApi) -> Remote:
    """Return the group version as discovery shows it."""
    name = f"{api.version}.{api.group}"
    return Remote(name, api.group, api.version, NOWHERE, 0, b"", False, *PRIORITY, is_available=True)
