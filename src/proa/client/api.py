"""Turn the verbs of the Kubernetes API into requests, and answers into objects or errors, over any transport.

Follows client-go's rest/request.go and apimachinery/pkg/watch. Everything decoded here is private to the
caller. Items of a list get the apiVersion and kind that lists leave out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from proa.client.protocol import (
    MERGE_PATCH,
    Object,
    ObjectList,
    PatchType,
    PropagationPolicy,
    Request,
    Response,
    Transport,
    WatchEvent,
)
from proa.objects import meta
from proa.objects.errors import BadRequest, InternalError, error_from_status
from proa.objects.resource import Resource

Query = dict[str, list[str]]

JSON = "application/json"
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
APPLY_PATCH: PatchType = "application/apply-patch+yaml"
DEFAULT_FIELD_MANAGER = "proa"
BUSY_ATTEMPTS = 10
BUSY_SECONDS = 1.0
"""A server that is too busy says 429 without a Status; it is asked again, as client-go does (rest/request.go)."""
MAX_WAIT_SECONDS = 60.0


class ApiClient:
    """`client.protocol.Client` over a transport. `user_agent` tells the server (and audit) who asks.

    With `waits` a refusal that names a time after which to ask again (429 or 5xx with Retry-After) is waited for, as
    client-go does; without, for components in the server's own process, it is raised.
    """

    def __init__(self, transport: Transport, user_agent: str = "proa", *, waits: bool = False) -> None:
        self._transport = transport
        self._waits = waits
        self._headers = {"accept": JSON, "user-agent": user_agent}

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return one object; raise NotFound."""
        return await self._call("GET", resource.path(namespace, _named(name)))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        metadata_only: bool = False,
    ) -> ObjectList:
        """Return the objects that match, a page of them where `limit` > 0."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=limit,
            **{"continue": continue_token},
        )
        accept = METADATA_LIST if metadata_only else JSON
        answer = await self._call("GET", resource.path(namespace), query, accept=accept)
        items = answer.get("items") or []
        for item in items if not metadata_only else ():
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        metadata = answer.get("metadata") or {}
        return ObjectList(items, metadata.get("resourceVersion", ""), metadata.get("continue", ""))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
        metadata_only: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes until the server ends the stream; raise Expired (or what its ERROR event says)."""
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=timeout_seconds,
        )
        headers = {**self._headers, "accept": METADATA if metadata_only else JSON}
        request = Request("GET", resource.path(namespace), query, headers)
        response = await self._transport.send(request)
        if response.status >= 400:
            raise error_from_status(_status_of(await _read(response)), response.status)
        if response.stream is None:
            raise InternalError(f"the server answered a watch of {resource.plural} without a stream")
        try:
            async for line in _lines(response.stream):
                event = _decode(line, request.path)
                if event["type"] == "ERROR":
                    raise error_from_status(event["object"], event["object"].get("code", 500))
                yield WatchEvent(event["type"], event["object"])
        finally:
            await _close(response.stream)

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """Create and return the object as stored; raise AlreadyExists, Invalid."""
        return await self._call("POST", resource.path(namespace or _namespace(obj)), body=obj)

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace the object (or its status, scale) of the same name; raise Conflict when it has changed."""
        path = resource.path(_namespace(obj), _named(obj["metadata"]["name"]), subresource)
        return await self._call("PUT", path, body=obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: object,
        namespace: str | None = None,
        *,
        patch_type: PatchType = MERGE_PATCH,
        subresource: str = "",
    ) -> Object:
        """Apply `patch` (any JSON value) and return the object as stored."""
        applying = patch_type == APPLY_PATCH
        query = _query(fieldManager=DEFAULT_FIELD_MANAGER, force="true") if applying else {}
        path = resource.path(namespace, _named(name), subresource)
        return await self._call("PATCH", path, query, patch, patch_type)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: PropagationPolicy | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Delete; return the object (still there while it has finalizers or grace) or a Status."""
        options: Object = {}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        conditions = {"uid": uid, "resourceVersion": resource_version}
        if preconditions := {key: value for key, value in conditions.items() if value}:
            options["preconditions"] = preconditions
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **options} if options else None
        return await self._call("DELETE", resource.path(namespace, _named(name)), body=body)

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, obj: Object, namespace: str | None = None
    ) -> Object:
        """POST to a subresource: `binding`, `eviction`, `token`."""
        return await self._call("POST", resource.path(namespace, _named(name), subresource), body=obj)

    async def request(self, method: str, path: str, body: object = None) -> Object:
        """Send any other request (discovery, /version; `path` may have a query) and return the decoded answer."""
        parts = urlsplit(path)
        return await self._call(method, parts.path, parse_qs(parts.query, keep_blank_values=True), body)

    async def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        """Return the answer to a GET of what is not an object: a log, metrics; its first `limit_bytes`, unless 0."""
        parts = urlsplit(path)
        query = parse_qs(parts.query, keep_blank_values=True)
        return await self._send("GET", parts.path, query, limit_bytes=limit_bytes)

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Object:
        return _decode(await self._send(method, path, query, body, content_type, accept=accept), path)

    async def _send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        content_type: str = JSON,
        limit_bytes: int = 0,
        accept: str = JSON,
    ) -> bytes:
        headers = {**self._headers, "accept": accept}
        data = b""
        if body is not None:
            headers["content-type"] = content_type
            data = orjson.dumps(body)
        for attempt in range(BUSY_ATTEMPTS):
            response = await self._transport.send(Request(method, path, query or {}, dict(headers), data))
            answer = await _read(response, limit_bytes)
            seconds = self._seconds_to_wait(response, answer)
            if seconds is None or attempt == BUSY_ATTEMPTS - 1:
                break
            await asyncio.sleep(seconds)
        if response.status >= 400:
            raise error_from_status(_status_of(answer), response.status)
        return answer

    def _seconds_to_wait(self, response: Response, answer: bytes) -> float | None:
        """Return after how long to ask again, None where the answer is to be taken as it is."""
        if self._waits and (response.status == 429 or response.status >= 500):
            asked = response.headers.get("retry-after", "")
            if asked.isdigit():
                return min(float(asked), MAX_WAIT_SECONDS)
        return BUSY_SECONDS if response.status == 429 and not answer.startswith(b"{") else None


def _query(**parameters: str | int) -> Query:
    return {name: [str(value)] for name, value in parameters.items() if value}


def _named(name: str) -> str:
    if not name:
        raise BadRequest("resource name may not be empty")
    return name


def _namespace(obj: Object) -> str | None:
    return meta.namespace(obj) or None


async def _read(response: Response, limit_bytes: int = 0) -> bytes:
    """Return the body, whichever form it came in; of a stream its first `limit_bytes`, unless 0."""
    if response.stream is not None:
        chunks, size = [], 0
        try:
            async for chunk in response.stream:
                chunks.append(chunk)
                size += len(chunk)
                if limit_bytes and size >= limit_bytes:
                    return b"".join(chunks)[:limit_bytes]
            return b"".join(chunks)
        finally:
            await _close(response.stream)
    return response.body if isinstance(response.body, bytes) else b"".join(response.body)


def _decode(body: bytes, path: str) -> Object:
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InternalError(f"the server's answer to {path} is not JSON: {error}") from None
    if not isinstance(answer, dict):
        raise InternalError(f"the server's answer to {path} is not a JSON object")
    return answer


def _status_of(body: bytes) -> Object:
    """Return the Status in an error's body; a body that holds none becomes the message."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body.decode(errors="replace").strip()}
    return answer if isinstance(answer, dict) else {}


async def _lines(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield whole lines, however they are spread over chunks."""
    pending: list[bytes] = []
    async for chunk in stream:
        *whole, rest = chunk.split(b"\n")
        if whole and pending:
            whole[0] = b"".join([*pending, whole[0]])
            pending = []
        for line in whole:
            if line:
                yield line
        if rest:
            pending.append(rest)


async def _close(stream: AsyncIterator[bytes]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
