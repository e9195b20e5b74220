"""Ask etcd over its gRPC gateway: JSON over HTTP/1.1, several members, errors that say what is known of the outcome.

Everything that is read is read from the majority (etcd's linearizable default). A call that can be sent again
harmlessly is tried on each member in turn; a transaction is sent once, and EtcdUnavailable then means that its
outcome is unknown. Keys and values travel in base64. Follows etcd's api/etcdserverpb/rpc.proto and
server/etcdserver/api/v3rpc/rpctypes/error.go (v3.5); the paths are the same up to 3.6.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from proa.client.http import HttpTransport
from proa.client.protocol import Request
from proa.objects.errors import ApiError
from proa.store.etcd_address import EtcdAddress
from proa.store.protocol import StoreError

CALL_SECONDS = 8.0
"""etcd itself gives up on a proposal after 5 s and two election timeouts: 7 s."""
MAX_EVENT_BYTES = 64 << 20
RANGE_PAGE = 1_000

_UNAVAILABLE_CODES = {1, 4, 13, 14}
"""gRPC's Canceled, DeadlineExceeded, Internal and Unavailable: no leader, timed out, stopped."""
_OUT_OF_RANGE = 11
_EXHAUSTED = 8

Json = dict[str, Any]


class EtcdUnavailable(StoreError):
    """No answer, or none of a majority. What was asked for may have happened or not."""


class EtcdRefused(StoreError):
    """etcd said no: nothing has happened. `code` is gRPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_compacted(self) -> bool:
        """Tell whether the revision asked for is history that is gone."""
        return self.code == _OUT_OF_RANGE and "compacted" in str(self)

    @property
    def is_full(self) -> bool:
        """Tell whether etcd's database has reached its quota."""
        return self.code == _EXHAUSTED


class EtcdCompacted(StoreError):
    """A watch began before `oldest`, where history is gone."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"revisions before {oldest} are compacted")
        self.oldest = oldest


class EtcdClient:
    """Calls to one etcd."""

    def __init__(self, address: EtcdAddress) -> None:
        context = address.make_ssl_context()
        self.name = ",".join(endpoint.split("//")[1] for endpoint in address.endpoints)
        self._transports = [HttpTransport(endpoint, context) for endpoint in address.endpoints]
        self._current = 0

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._transports:
            await transport.close()

    async def range(self, key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0) -> Json:
        """Return the keys from `key` up to, without, `end` ("": that key alone)."""
        body: Json = {"key": encode(key), "limit": str(limit), "revision": str(revision)}
        if end:
            body["range_end"] = encode(end)
        return await self.ask("/v3/kv/range", body)

    async def snapshot(self, key: bytes, end: bytes) -> tuple[int, list[Json]]:
        """Return (revision, all keys and values from `key` to `end` as of it), read in pages."""
        revision, found = 0, list[Json]()
        while True:
            answer = await self.range(key, end, limit=RANGE_PAGE, revision=revision)
            revision = revision or revision_of(answer)
            page = answer.get("kvs", [])
            found += page
            if not answer.get("more"):
                return revision, found
            key = decode(page[-1]["key"]) + b"\0"

    async def transact(self, compare: list[Json], success: list[Json], failure: list[Json]) -> Json:
        """Do `success` where all of `compare` holds, else `failure`. Sent once."""
        body = {"compare": compare, "success": success, "failure": failure}
        return await self._send("/v3/kv/txn", body)

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`; harmless where that is done already."""
        try:
            await self.ask("/v3/kv/compaction", {"revision": str(revision)})
        except EtcdRefused as error:
            if not error.is_compacted:
                raise

    async def grant_lease(self, seconds: int) -> int:
        """Return a new lease."""
        return int((await self.ask("/v3/lease/grant", {"TTL": str(seconds)}))["ID"])

    async def keep_lease(self, lease: int) -> bool:
        """Begin a lease's time again; return whether it is still there."""
        answer = await self.ask("/v3/lease/keepalive", {"ID": str(lease)})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    async def revoke_lease(self, lease: int) -> None:
        """End a lease, and remove its keys."""
        await self.ask("/v3/lease/revoke", {"ID": str(lease)})

    async def watch(self, key: bytes, end: bytes, start: int) -> AsyncGenerator[Json, None]:
        """Yield etcd's answers from revision `start` on, the first of them empty; raise EtcdCompacted.

        Ends only by an error. All events of one revision come in one answer.
        """
        create = {
            "key": encode(key),
            "range_end": encode(end),
            "start_revision": str(start),
            "progress_notify": True,
        }
        request = Request(
            "POST",
            "/v3/watch",
            headers={"content-type": "application/json"},
            body=orjson.dumps({"create_request": create}),
        )
        try:
            async with asyncio.timeout(CALL_SECONDS):
                response = await self._transports[self._current].send(request)
            if response.stream is None:
                raise _refusal(response.status, _join(response.body))
            async for line in _lines(response.stream):
                answer = _decoded(line)
                if "error" in answer:
                    error = answer["error"]
                    raise EtcdUnavailable(str(error.get("message", error)))
                result: Json = answer["result"]
                if "compact_revision" in result:
                    raise EtcdCompacted(int(result["compact_revision"]))
                if result.get("canceled"):
                    raise EtcdUnavailable(str(result.get("cancel_reason") or "etcd cancelled the watch"))
                yield result
            raise EtcdUnavailable("etcd ended the watch")
        except (ApiError, TimeoutError) as error:
            self.turn()
            raise EtcdUnavailable(_words(error)) from None
        except EtcdUnavailable:
            self.turn()
            raise

    def turn(self) -> None:
        """Go on with the next member."""
        self._current = (self._current + 1) % len(self._transports)

    async def ask(self, path: str, body: Json) -> Json:
        """Return the answer to what may be asked twice; each member is tried once."""
        for _ in self._transports[1:]:
            try:
                return await self._send(path, body)
            except EtcdUnavailable:
                continue
        return await self._send(path, body)

    async def _send(self, path: str, body: Json) -> Json:
        headers = {"content-type": "application/json"}
        request = Request("POST", path, headers=headers, body=orjson.dumps(body))
        used = self._current
        try:
            async with asyncio.timeout(CALL_SECONDS):
                response = await self._transports[used].send(request)
                data = _join(response.body)
                if response.stream is not None:
                    data = b"".join([piece async for piece in response.stream])
            if response.status != 200:
                raise _refusal(response.status, data)
            return _decoded(data)
        except (ApiError, TimeoutError) as error:
            if used == self._current:
                self.turn()
            raise EtcdUnavailable(_words(error)) from None
        except EtcdUnavailable:
            if used == self._current:
                self.turn()
            raise


def encode(data: bytes) -> str:
    """Return bytes as etcd's JSON has them."""
    return b64encode(data).decode()


def decode(text: str) -> bytes:
    """Return the bytes of what etcd's JSON has."""
    return a2b_base64(text)


def revision_of(answer: Json) -> int:
    """Return etcd's revision when it answered."""
    return int(answer["header"]["revision"])


async def _lines(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield whole lines; one that never ends is cut off."""
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in stream:
        *ended, rest = piece.split(b"\n")
        for line in ended:
            yield b"".join([*pieces, line])
            pieces, size_bytes = [], 0
        if rest:
            pieces.append(rest)
            size_bytes += len(rest)
            if size_bytes > MAX_EVENT_BYTES:
                raise EtcdUnavailable(f"etcd sends an event of more than {MAX_EVENT_BYTES} bytes")


def _decoded(data: bytes) -> Json:
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise EtcdUnavailable(f"what answers is no etcd: {data[:80]!r}") from None
    if not isinstance(answer, dict):
        raise EtcdUnavailable(f"what answers is no etcd: {data[:80]!r}")
    return answer


def _refusal(status: int, data: bytes) -> StoreError:
    """Return the error of an answer that is not 200."""
    try:
        answer = orjson.loads(data)
        code, message = int(answer["code"]), str(answer["message"])
    except (ValueError, KeyError, TypeError):
        return EtcdUnavailable(f"what answers is no etcd's gateway: HTTP {status} {data[:80]!r}")
    return EtcdUnavailable(message) if code in _UNAVAILABLE_CODES else EtcdRefused(code, message)


def _join(body: Any) -> bytes:
    return body if isinstance(body, bytes) else b"".join(body)


def _words(error: Exception) -> str:
    return error.message if isinstance(error, ApiError) else f"no answer within {CALL_SECONDS:.0f} s"
