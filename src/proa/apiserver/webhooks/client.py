"""Call webhooks over HTTPS: connections are verified, kept and shared, and every call ends within its time.

Admission and conversion webhooks are named by the same `clientConfig` (url, or service, and caBundle). Follows
apiserver/pkg/util/webhook/client.go; the words of failures are Go's, since people search for them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from proa.apiserver.webhooks.connection import Answer, Connection, NoAnswer, secure
from proa.apiserver.webhooks.resolver import CannotConnect, ServiceResolver, dial
from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    import ssl

IDLE_CONNECTIONS = 16
"""Kept for each target."""
IDLE_SECONDS = 30.0
MAX_CONTEXTS = 200
USER_AGENT = "kube-apiserver-admission"


class CallFailure(Exception):
    """A webhook could not be asked, or did not answer as it must; the message is in upstream's words."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is. With a `service`, as (namespace, name), host and port are the service's."""

    host: str
    port: int
    path: str
    authority: str
    """The host as the request and messages name it, with its port where it was given."""
    ca_bundle: bytes
    """PEM; none: the system's roots."""
    service: tuple[str, str] | None = None

    @property
    def server_name(self) -> str:
        """Return the name that the server's certificate must have."""
        return self.host


def make_target(config: Object) -> Target:
    """Return what a `clientConfig` names; raise CallFailure where it names nothing."""
    try:
        bundle = base64.b64decode(config.get("caBundle") or "")
    except binascii.Error as error:
        raise CallFailure(f"could not get REST client: unable to load root certificates: {error}") from None
    service = config.get("service")
    if service is not None:
        namespace, name, port = service["namespace"], service["name"], service.get("port") or 443
        host = f"{name}.{namespace}.svc"
        path = _clean(service.get("path") or "")
        return Target(host, port, path, f"{host}:{port}", bundle, (namespace, name))
    if not config.get("url"):
        raise CallFailure("could not get REST client: webhook configuration must have either service or URL")
    parts = urlsplit(config["url"])
    return Target(parts.hostname or "", parts.port or 443, _clean(parts.path), parts.netloc, bundle)


def _clean(path: str) -> str:
    """Return a path as Go's path.Join leaves it, with what a request line cannot have encoded."""
    steps: list[str] = []
    for step in path.split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return quote("/" + "/".join(steps), safe="/%:@!$&'()*+,;=~-._")


class WebhookClient:
    """Posts JSON to webhooks. Belongs to the event loop in which it is used."""

    def __init__(self, resolver: ServiceResolver) -> None:
        self._resolver = resolver
        self._contexts: dict[bytes, ssl.SSLContext] = {}
        self._idle: dict[Target, list[Connection]] = {}
        self._is_closed = False

    async def post(self, target: Target, body: bytes, timeout_seconds: int) -> bytes:
        """Return the body of a good answer; raise CallFailure."""
        path = f"{target.path}?timeout={timeout_seconds}s"
        headers = {
            "host": target.authority,
            "user-agent": USER_AGENT,
            "accept": "application/json, */*",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        failed = f'Post "https://{target.authority}{path}": '
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await self._ask(target, path, headers, body)
        except TimeoutError:
            raise CallFailure(f"{failed}context deadline exceeded") from None
        except (CannotConnect, NoAnswer) as error:
            raise CallFailure(f"{failed}{error}") from error
        if not 200 <= answer.status < 300:
            raise CallFailure(_refusal(answer))
        if not answer.body:
            kind = answer.headers.get("content-type", "")
            raise CallFailure(f"0-length response with status code: {answer.status} and content type: {kind}")
        return answer.body

    async def close(self) -> None:
        """Close idle connections; those of calls under way are closed when they end."""
        self._is_closed = True
        kept, self._idle = self._idle, {}
        for connections in kept.values():
            for connection in connections:
                await connection.close()

    async def _ask(self, target: Target, path: str, headers: dict[str, str], body: bytes) -> Answer:
        while True:
            connection = await self._find_idle(target) or await self._connect(target)
            try:
                answer = await connection.ask("POST", path, headers, body)
            except NoAnswer as error:
                if error.is_stale:
                    continue  # a review changes nothing: it may be asked again
                raise
            finally:
                await self._keep(target, connection)
            return answer

    async def _connect(self, target: Target) -> Connection:
        context = self._context(target.ca_bundle)
        if target.service is not None:
            stream = await self._resolver.connect(*target.service, target.port)
        else:
            stream = await dial(target.host, target.port)
        return Connection(await secure(stream, context, target.server_name))

    async def _find_idle(self, target: Target) -> Connection | None:
        found = self._idle.get(target)
        while found:
            connection = found.pop()
            if asyncio.get_running_loop().time() - connection.idle_since < IDLE_SECONDS:
                return connection
            await connection.close()
        return None

    async def _keep(self, target: Target, connection: Connection) -> None:
        found = self._idle.setdefault(target, [])
        if connection.is_reusable and not self._is_closed and len(found) < IDLE_CONNECTIONS:
            connection.idle_since = asyncio.get_running_loop().time()
            found.append(connection)
        else:
            await connection.close()
        await self._forget_old()

    async def _forget_old(self) -> None:
        """Close what nobody used for a while, and forget targets without connections."""
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        for target, connections in [*self._idle.items()]:
            while connections and connections[0].idle_since < oldest:
                await connections.pop(0).close()
            if not connections:
                self._idle.pop(target, None)

    def _context(self, ca_bundle: bytes) -> ssl.SSLContext:
        found = self._contexts.get(ca_bundle)
        if found is None:
            if len(self._contexts) >= MAX_CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            found = self._contexts[ca_bundle] = make_context(ca_bundle)
        return found


def make_context(ca_bundle: bytes) -> ssl.SSLContext:
    """Return a client's TLS settings that trust the bundle, or the system's roots; raise CallFailure.

    As in Go, any certificate of the bundle may end a chain, and a common name counts for nothing.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not ca_bundle:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=ca_bundle.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise CallFailure(
            "could not get REST client: unable to load root certificates: unable to parse bytes as PEM block"
        ) from None
    return context


_REFUSALS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
"""apimachinery/pkg/api/errors NewGenericServerResponse."""
MAX_SHOWN = 2048


def _refusal(answer: Answer) -> str:
    import orjson

    from proa.objects.validation import quote

    text = answer.body[:MAX_SHOWN].decode(errors="replace").strip()
    try:
        status = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status" and isinstance(status.get("message"), str):
        return str(status["message"])
    if answer.status in _REFUSALS:
        return _REFUSALS[answer.status]
    if answer.status == 403:
        return text or "unknown"
    if answer.status >= 500:
        return (
            f"an error on the server ({quote(text or 'unknown')}) has prevented the request from succeeding"
        )
    return f"the server responded with the status code {answer.status} but did not return more information"
