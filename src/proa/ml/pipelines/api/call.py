"""One request as its handler sees it: who asks, what its path and query say, and what the API works with."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import orjson

from proa.client.protocol import Request, Response, User
from proa.ml.pipelines.api.access import NAMESPACE
from proa.ml.pipelines.api.messages import Shape, read_body
from proa.ml.pipelines.api.refusals import invalid
from proa.ml.pipelines.records import Json
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from proa.ml.pipelines.api.services import Services

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 20, 200
"""Upstream's (backend/src/apiserver/server/list_request_util.go)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that a route was found for."""

    services: Services
    request: Request
    user: User
    path: Mapping[str, str]
    """What the pattern's names stand for."""

    def text(self, name: str) -> str:
        """Return a query parameter, by its snake_case or camelCase name."""
        value = self.request.parameter(name)
        if not value and "_" in name:
            value = self.request.parameter(re.sub("_([a-z])", lambda found: found[1].upper(), name))
        if "\0" in value:
            raise invalid(f"{name} has a NUL character")
        return value

    def flag(self, name: str) -> bool:
        """Return a query parameter that is true or false."""
        value = self.text(name)
        if value.lower() not in ("", "true", "false", "1", "0"):
            raise invalid(f"{name}: expected true or false, got {value!r}")
        return value.lower() in ("true", "1")

    @property
    def namespace(self) -> str:
        """The namespace that is asked for; the shared one where none is."""
        return self.text("namespace") or NAMESPACE

    @property
    def page_size(self) -> int:
        """How many are asked for at once."""
        text = self.text("page_size")
        if text and not re.fullmatch(r"-?\d{1,9}", text):
            raise invalid(f"page_size: expected an integer, got {text!r}")
        size = int(text or 0)
        if size < 0:
            raise invalid(f"The page size should be greater than 0. Got {size}")
        return min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)

    def message(self, shape: Shape) -> Json:
        """Return the body as a message; raise Refusal."""
        return read_body(self.request.body, shape)

    async def check(self, verb: str, resource: str, namespace: str, name: str = "") -> None:
        """Raise Refusal unless the one who asks may."""
        await self.services.access.check(self.user, verb, resource, namespace, name)


Answerer = Callable[[Call], Awaitable[Response]]


def answer(message: Json) -> Response:
    """Return a message; what is empty is left out, as the gateway does."""
    return Response(200, {"Content-Type": "application/json"}, orjson.dumps(without_empty(message)))


def without_empty(message: Json) -> Json:
    """Return a message without fields that have their default, which protobuf's JSON leaves out."""
    return {key: value for key, value in message.items() if value not in ("", None, [], {}, 0, False)}
