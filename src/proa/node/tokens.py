"""Ask for service account tokens that are bound to a pod, and say when they are due for renewal.

Follows pkg/kubelet/token/token_manager.go: renewed at 80% of their life, or after a day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proa.client.protocol import Client, Object
from proa.node.volumes.payloads import Token
from proa.objects.meta import name, namespace, parse_time, uid
from proa.objects.resource import SERVICE_ACCOUNTS

DEFAULT_LIFE_SECONDS = 3600
RENEW_AFTER = 0.8
MAX_AGE_SECONDS = 24 * 3600.0


class TokenSource:
    """Tokens by (pod, audience, path): asked for once, and again when due."""

    def __init__(self, client: Client, now: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._tokens: dict[tuple[str, str, str], Token] = {}

    async def request(self, pod: Object, projection: Mapping[str, object]) -> Token:
        """Return a token that is not due for renewal; raise ApiError."""
        key = (uid(pod), str(projection.get("audience") or ""), str(projection["path"]))
        known = self._tokens.get(key)
        if known is not None and known.refresh_at > self._now():
            return known
        token = self._tokens[key] = await self._ask(pod, projection)
        return token

    def forget_all(self) -> None:
        """Drop every token: the time of day has jumped, and they may be of no more use."""
        self._tokens.clear()

    def forget(self, pod_uid: str) -> None:
        """Drop a pod's tokens."""
        for key in [k for k in self._tokens if k[0] == pod_uid]:
            del self._tokens[key]

    async def _ask(self, pod: Object, projection: Mapping[str, object]) -> Token:
        audience = projection.get("audience")
        spec = {
            "audiences": [audience] if audience else [],
            "expirationSeconds": projection.get("expirationSeconds") or DEFAULT_LIFE_SECONDS,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name(pod), "uid": uid(pod)},
        }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._client.create_subresource(
            SERVICE_ACCOUNTS, account, "token", request, namespace(pod)
        )
        now = self._now()
        life = parse_time(answer["status"]["expirationTimestamp"]) - now
        return Token(answer["status"]["token"], now + min(life * RENEW_AFTER, MAX_AGE_SECONDS))
