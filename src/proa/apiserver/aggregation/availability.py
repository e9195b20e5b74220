"""Judge whether a remote group version can be served: remote_available_controller.go of kube-aggregator.

Pure, but for `ask`, which looks whether the server answers and what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson

from proa.apiserver.aggregation.remotes import Remote
from proa.apiserver.aggregation.upstream import Upstream, identity_headers
from proa.apiserver.webhooks.resolver import CannotConnect
from proa.client.protocol import Object, User
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import quote

CHECK_SECONDS = 5.0
ATTEMPTS = 3
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
CHECKER = User("system:kube-aggregator", ("system:masters",))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The condition Available."""

    status: str
    reason: str
    message: str


PASSED = Verdict("True", "Passed", "all checks passed")


class NotAvailable(Exception):
    """The remote server did not answer as it must."""


def judge(remote: Remote, service: Object | None, slices: Sequence[Object]) -> Verdict | None:
    """Return why a remote cannot be reached, None where it should be: then it is to be asked."""
    namespace, name = remote.service
    where = f"service/{name} in {quote(namespace)}"
    if service is None:
        return Verdict("False", "ServiceNotFound", f"{where} is not present")
    spec = service.get("spec") or {}
    if (spec.get("type") or "ClusterIP") != "ClusterIP":
        return None
    port = next((p for p in spec.get("ports") or () if p["port"] == remote.port), None)
    if port is None:
        return Verdict("False", "ServicePortError", f"{where} is not listening on port {remote.port}")
    if not slices:
        return Verdict("False", "EndpointsNotFound", f"cannot find endpointslices for {where}")
    port_name = port.get("name") or ""
    if not any(_has_endpoint(slice_, port_name) for slice_ in slices):
        why = f"endpointslices for {where} have no addresses with port name {quote(port_name)}"
        return Verdict("False", "MissingEndpoints", why)
    return None


def _has_endpoint(slice_: Object, port_name: str) -> bool:
    ready = any((e.get("conditions") or {}).get("ready") is not False for e in slice_.get("endpoints") or ())
    return ready and any(
        (p.get("name") or "") == port_name and p.get("port") for p in slice_.get("ports") or ()
    )


def with_verdict(api_service: Object, verdict: Verdict, now: str) -> Object:
    """Return the APIService with the condition; when it changed is kept where its status is the same."""
    status = api_service.get("status") or {}
    conditions = list(status.get("conditions") or ())
    made = {
        "type": "Available",
        "status": verdict.status,
        "lastTransitionTime": now,
        "reason": verdict.reason,
        "message": verdict.message,
    }
    for index, condition in enumerate(conditions):
        if condition.get("type") == "Available":
            if condition.get("status") == verdict.status:
                made["lastTransitionTime"] = condition.get("lastTransitionTime") or now
            conditions[index] = made
            break
    else:
        conditions.append(made)
    return {**api_service, "status": {**status, "conditions": conditions}}


async def ask(remote: Remote, upstream: Upstream) -> Object:
    """Return the remote's APIResourceList; raise NotAvailable, after a few attempts."""
    said = ""
    for _ in range(ATTEMPTS):
        try:
            return await _ask_once(remote, upstream)
        except NotAvailable as error:
            said = str(error)
    raise NotAvailable(said)


async def _ask_once(remote: Remote, upstream: Upstream) -> Object:
    url = f"https://{remote.server_name}:{remote.port}{remote.path}"
    failing = f"failing or missing response from {url}"
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            status, body = await fetch(remote, upstream, remote.path)
    except TimeoutError:
        raise NotAvailable(f"{failing}: Get {quote(url)}: context deadline exceeded") from None
    except (CannotConnect, OSError, ValueError) as error:
        raise NotAvailable(f"{failing}: Get {quote(url)}: {error}") from None
    if not 200 <= status < 300:
        raise NotAvailable(f"{failing}: bad status from {url}: {status}")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    return document if isinstance(document, dict) else {}


async def fetch(remote: Remote, upstream: Upstream, path: str) -> tuple[int, bytes]:
    """GET a document of the remote in the name of the aggregator; raise CannotConnect, OSError, ValueError."""
    backend = await upstream.connect(remote)
    try:
        headers = {
            "host": f"{remote.server_name}:{remote.port}",
            "accept": "application/json",
            "connection": "close",
        }
        await backend.send("GET", path, headers, b"", identity_headers(CHECKER))
        head = await backend.read_head("GET")
        pieces: list[bytes] = []
        size = 0
        async for piece in backend.body():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise ValueError(f"the answer is over {MAX_DOCUMENT_BYTES} bytes")
    finally:
        await backend.close()
    return head.status, b"".join(pieces)


async def find_openapi(remote: Remote, upstream: Upstream) -> str:
    """Return the URL of the remote's OpenAPI v3 document, "" where it offers none."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            status, body = await fetch(remote, upstream, "/openapi/v3")
        index = orjson.loads(body) if status == 200 else {}
        found = index["paths"][remote.path.strip("/")]["serverRelativeURL"]
    except (TimeoutError, CannotConnect, OSError, ValueError, KeyError, TypeError):
        return ""
    wanted = f"/openapi/v3{remote.path}"
    return found if isinstance(found, str) and found.partition("?")[0] == wanted else ""
