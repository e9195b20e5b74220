"""Read requests to the metrics APIs and shape their answers, as an API server behind APIServices does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import orjson

from proa.client.protocol import Object, Request, Response
from proa.objects.errors import ApiError, MethodNotAllowed, NotFound

JSON = {"Content-Type": "application/json"}


class Target(NamedTuple):
    """What is below a group version's path: /namespaces/{namespace}/{parts…}; parts are percent-decoded."""

    namespace: str
    parts: tuple[str, ...]


def read_target(request: Request, group_version: str) -> Target:
    """Return what a GET is about; raise MethodNotAllowed for all that is not a plain read."""
    if request.method not in ("GET", "HEAD") or request.parameter("watch") in ("1", "true"):
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    below = request.path.removeprefix(f"/apis/{group_version}").strip("/")
    parts = tuple(map(unquote, below.split("/"))) if below else ()
    if len(parts) > 2 and parts[0] == "namespaces":
        return Target(parts[1], parts[2:])
    return Target("", parts)


def answer(document: Object, status: int = 200) -> Response:
    """Return a document as JSON."""
    return Response(status, dict(JSON), orjson.dumps(document))


def refuse(error: ApiError) -> Response:
    """Return an error as a Status."""
    return answer(error.status(), error.code)


def not_found(what: str, name: str) -> NotFound:
    """Return that `what` ("podmetrics.metrics.k8s.io") has no object of that name."""
    return NotFound(f'{what} "{name}" not found', name=name)


def resource_list(group_version: str, resources: Sequence[Mapping[str, object]]) -> Object:
    """Return the discovery document of a group version."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": [dict(resource) for resource in resources],
    }


def unknown() -> NotFound:
    """Return that there is no such resource."""
    return NotFound("the server could not find the requested resource")
