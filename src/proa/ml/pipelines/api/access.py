"""Know who asks, and whether they may: RBAC on upstream's names, in the namespace of what is asked for.

Who shows no token, on a way that allows it (the Service in the cluster, port-forward, the service proxy), acts as the
service account VISITOR: its RoleBinding says what that is, and an administrator may remove it. A browser that was sent
here by another site is not such a visitor. Upstream: backend/src/apiserver/auth, common/const.go (verbs and resources).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from proa.client.protocol import Client, Object, Request, User
from proa.ml.pipelines.api.refusals import Code, Refusal
from proa.objects.errors import ApiError
from proa.objects.resource import SUBJECT_ACCESS_REVIEWS, Resource

GROUP, VERSION = "pipelines.kubeflow.org", "v1beta1"
AUDIENCE = "pipelines.kubeflow.org"
NAMESPACE = "kubeflow"
"""Where everything is that names no namespace."""
API = "ml-pipeline"
VISITOR = "ml-pipeline-visitor"
PIPELINES, EXPERIMENTS, RUNS, JOBS = "pipelines", "experiments", "runs", "jobs"
_TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
_OWN_NAME = re.compile(rf"{API}(-ui)?(\.{NAMESPACE}(\.svc(\.cluster\.local)?)?)?\.?")
_KNOWN_SECONDS = 5.0
_MAX_KNOWN = 4096


def visitor() -> User:
    """Return whom requests without credentials act as."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated")
    return User(f"system:serviceaccount:{NAMESPACE}:{VISITOR}", groups)


class Access:
    """Asks the API server; what it answered a moment ago is not asked again."""

    def __init__(self, client: Client, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._now = now
        self._known: dict[Any, tuple[float, Any]] = {}

    async def identify(self, request: Request, *, needs_token: bool) -> User:
        """Return who asks; raise Refusal."""
        if request.user is not None:
            return request.user
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return await self._find_user(token.strip())
        if needs_token:
            raise Refusal(
                Code.UNAUTHENTICATED,
                "a token is needed here: kfp.Client(host=..., existing_token=...) with what "
                f"`kubectl -n {NAMESPACE} create token {VISITOR}` prints",
            )
        if not is_own_page(request):
            raise Refusal(
                Code.PERMISSION_DENIED,
                "a page of another site may not act here without a token, nor who calls this server by another name "
                f"than {API}.{NAMESPACE}, localhost or an address",
            )
        return visitor()

    async def check(self, user: User, verb: str, resource: str, namespace: str, name: str = "") -> None:
        """Raise Refusal unless `user` may."""
        if not await self.is_allowed(user, verb, resource, namespace, name):
            named = f' "{name}"' if name else ""
            raise Refusal(
                Code.PERMISSION_DENIED,
                f"User '{user.name}' cannot {verb} {resource}.{GROUP}{named} in namespace '{namespace}'",
            )

    async def is_allowed(self, user: User, verb: str, resource: str, namespace: str, name: str = "") -> bool:
        """Tell whether `user` may; raise Refusal where nobody can tell."""
        key = (user.name, user.groups, verb, resource, namespace, name)
        known = self._find(key)
        if known is None:
            spec: Object = {
                "user": user.name,
                "groups": list(user.groups),
                "uid": user.uid,
                "extra": {name: list(values) for name, values in user.extra.items()},
                "resourceAttributes": {
                    "group": GROUP,
                    "version": VERSION,
                    "resource": resource,
                    "verb": verb,
                    "namespace": namespace,
                    "name": name,
                },
            }
            status = await self._review(SUBJECT_ACCESS_REVIEWS, "SubjectAccessReview", spec)
            known = self._note(key, bool(status.get("allowed")))
        return bool(known)

    async def _find_user(self, token: str) -> User:
        key = hashlib.sha256(token.encode()).digest()
        known = self._find(key)
        if known is None:
            known = self._note(key, await self._review_token(token) or False)
        if known is False:
            raise Refusal(Code.UNAUTHENTICATED, "the token is not valid")
        user: User = known
        return user

    async def _review_token(self, token: str) -> User | None:
        """Return whose token it is: made for pipelines (as upstream's clients in pods have it), or for the API."""
        for audiences in ([AUDIENCE], []):
            spec = {"token": token, **({"audiences": audiences} if audiences else {})}
            status = await self._review(_TOKEN_REVIEWS, "TokenReview", spec)
            if status.get("authenticated"):
                who = status.get("user") or {}
                extra = {name: tuple(values) for name, values in (who.get("extra") or {}).items()}
                return User(
                    who.get("username", ""), tuple(who.get("groups") or ()), who.get("uid", ""), extra
                )
        return None

    async def _review(self, resource: Resource, kind: str, spec: Object) -> Object:
        body = {"apiVersion": resource.api_version, "kind": kind, "metadata": {}, "spec": spec}
        try:
            status: Object = (await self._client.create(resource, body)).get("status") or {}
        except ApiError as error:
            raise Refusal(Code.UNAVAILABLE, f"nobody can tell who may do this: {error.message}") from error
        return status

    def _find(self, key: Any) -> Any:
        until, value = self._known.get(key, (0.0, None))
        return value if self._now() < until else None

    def _note(self, key: Any, value: Any) -> Any:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[key] = (self._now() + _KNOWN_SECONDS, value)
        return value


def is_own_page(request: Request) -> bool:
    """Tell whether a request comes from no browser, or from a page of this server itself.

    A page whose own name is made to lead here (DNS rebinding) reads without an Origin, so that the name is looked at
    in any case: every browser sends it.
    """
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return (not host or _is_known_name(name)) and (origin is None or urlsplit(origin).netloc == host)
    except ValueError:
        return False


def _is_known_name(host: str) -> bool:
    """Tell whether a name cannot be another site's: an address, or one that no public name server answers for."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or _OWN_NAME.fullmatch(host) is not None
    return True
