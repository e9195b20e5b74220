"""Tell whom a token names: it is good while it has not expired and what it is bound to is there, with the same uid.

Follows pkg/serviceaccount/claims.go, legacy.go and jwt.go, and apiserver/pkg/authentication/request/bearertoken.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import field
from typing import Any

import orjson

from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.notes import annotate_audit
from proa.client.protocol import User
from proa.objects.bootstrap_tokens import NAMESPACE, secret_name, split_token
from proa.objects.meta import parse_time
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Resource
from proa.objects.token_keys import BadToken, TokenKeys
from proa.objects.validation import quote

ISSUER = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER = "kubernetes/serviceaccount"
LEEWAY_SECONDS = 60
PREFIX = "system:serviceaccount:"
CACHED_TOKENS = 1024
BOUND: dict[str, tuple[str, Resource]] = {
    "Pod": ("pod", PODS),
    "Secret": ("secret", SECRETS),
    "Node": ("node", NODES),
}
"""Kinds that a token may be bound to, and the claim that says so."""
_LEGACY = "kubernetes.io/serviceaccount/"
INVALIDATED = "service account token has been invalidated"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whom a token names and for which of the audiences asked, or why it is not good."""

    user: User | None = None
    audiences: tuple[str, ...] = ()
    error: str = field(default="")


class Authenticator:
    """Judges tokens by the cluster's keys and objects. `audiences` are those of this API server."""

    audiences = (ISSUER,)

    def __init__(self, catalog: Catalog, keys: TokenKeys) -> None:
        self._catalog = catalog
        self._keys = keys
        self._verified: OrderedDict[str, dict[str, Any]] = OrderedDict()
        """Claims of tokens whose signature was right: verifying costs 100 us, and clients repeat themselves."""

    def authenticate(self, token: str) -> User | None:
        """Return the service account that a token names, None where it is not good for this API server."""
        return self.judge(token, self.audiences).user

    def judge(self, token: str, audiences: Sequence[str]) -> Verdict:
        """Tell whom a token names, where it is for one of `audiences`."""
        if (parts := split_token(token)) is not None:
            return self._judge_bootstrap(token, parts[0], audiences)
        claims = self._verified.get(token)
        if claims is None:
            try:
                claims = self._keys.verify(token)
            except BadToken:
                return Verdict(error="invalid bearer token")
            self._verified[token] = claims
            if len(self._verified) > CACHED_TOKENS:
                self._verified.popitem(last=False)
        try:
            if claims.get("iss") == LEGACY_ISSUER:
                claims = {**claims, "aud": self.audiences}
            elif claims.get("iss") != ISSUER:
                return Verdict(error="invalid bearer token")
            meant = _audiences_of(claims)
            common = tuple(audience for audience in audiences if audience in meant)
            if not common:
                raise BadToken(
                    f"token audiences {_listed(meant)} is invalid for the target audiences {_listed(audiences)}"
                )
            is_legacy = claims["iss"] == LEGACY_ISSUER
            user = self._legacy_user(token, claims) if is_legacy else self._user_of(claims)
            return Verdict(user, common)
        except BadToken as error:
            return Verdict(error=f"[invalid bearer token, {error}]")

    def _judge_bootstrap(self, token: str, token_id: str, audiences: Sequence[str]) -> Verdict:
        """A bootstrap token names no audience: it is for this API server."""
        from proa.apiserver.tokens.bootstrap import user_of_token

        secret = self._find(SECRETS, NAMESPACE, secret_name(token_id))
        user = user_of_token(secret, token, self._catalog.now())
        common = tuple(audience for audience in audiences if audience in self.audiences)
        if user is None or not common:
            return Verdict(error="invalid bearer token")
        return Verdict(user, common)

    def _user_of(self, claims: dict[str, Any]) -> User:
        """Check what may change after signing: the time, the account, and what the token is bound to."""
        now = self._catalog.now()
        if now >= claims.get("exp", 0):
            raise BadToken("service account token has expired")
        if now < claims.get("nbf", 0) - LEEWAY_SECONDS:
            raise BadToken("service account token is not valid yet")
        private = claims.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        self._check_account(namespace, account.get("name", ""), account.get("uid", ""))
        extra: dict[str, tuple[str, ...]] = {}
        for claim, resource in BOUND.values():
            ref = private.get(claim)
            if not ref:
                continue
            if claim != "node" or "pod" not in private:  # the node of a pod is told, not checked
                self._check_bound(claim, resource, namespace, ref)
            if claim != "secret":
                extra[f"authentication.kubernetes.io/{claim}-name"] = (ref["name"],)
                extra[f"authentication.kubernetes.io/{claim}-uid"] = (ref["uid"],)
        extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims.get('jti', '')}",)
        user = _user(namespace, account["name"], account["uid"], extra)
        late = now - private.get("warnafter", now)
        if late > 0:
            text = f"subject: {user.name}, seconds after warning threshold: {int(late)}"
            annotate_audit("authentication.k8s.io/stale-token", text)
        return user

    def _legacy_user(self, token: str, claims: dict[str, Any]) -> User:
        """Return the account of a token that a Secret holds, without an end of its own."""
        parts = ("namespace", "secret.name", "service-account.name", "service-account.uid")
        namespace, secret, account, uid = (str(claims.get(_LEGACY + part, "")) for part in parts)
        if claims.get("sub") != f"{PREFIX}{namespace}:{account}":
            raise BadToken("sub claim is invalid")
        entry = self._find(SECRETS, namespace, secret)
        if entry is None or entry["metadata"].get("deletionTimestamp"):
            raise BadToken("Token has been invalidated")
        if (entry.get("data") or {}).get("token") != base64.b64encode(token.encode()).decode():
            raise BadToken("Token does not match server's copy")
        self._check_account(namespace, account, uid)
        user = _user(namespace, account, uid, {})
        annotate_audit("authentication.k8s.io/legacy-token", user.name)
        return user

    def _check_account(self, namespace: str, name: str, uid: str) -> None:
        found = self._find(SERVICE_ACCOUNTS, namespace, name)
        if found is None:
            raise BadToken(f"serviceaccounts {quote(name)} not found")
        if self._is_over(found):
            raise BadToken(f"service account {namespace}/{name} has been deleted")
        if found["metadata"]["uid"] != uid:
            raise BadToken(f"service account UID ({found['metadata']['uid']}) does not match claim ({uid})")

    def _check_bound(self, claim: str, resource: Resource, namespace: str, ref: dict[str, Any]) -> None:
        found = self._find(resource, namespace, ref.get("name", ""))
        if found is None or self._is_over(found):
            raise BadToken(INVALIDATED)
        uid = found["metadata"]["uid"]
        if uid != ref.get("uid"):
            said = (
                f"{claim} UID ({uid}) does not match service account {claim} ref claim ({ref.get('uid', '')})"
            )
            raise BadToken(said)

    def _is_over(self, obj: dict[str, Any]) -> bool:
        """Tell whether an object should be gone by now: its tokens live a minute longer than its grace."""
        deleted = obj["metadata"].get("deletionTimestamp")
        return bool(deleted) and parse_time(deleted) + LEEWAY_SECONDS < self._catalog.now()

    def _find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        if not name or not self._catalog.has(resource):
            return None
        registry = self._catalog.of(resource)
        entry = registry.store.get(registry.key(namespace, name))
        if entry is None:
            return None
        found: dict[str, Any] = orjson.loads(entry.value)
        return found


def _user(namespace: str, account: str, uid: str, extra: dict[str, tuple[str, ...]]) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"{PREFIX}{namespace}:{account}", groups, uid, extra)


def _audiences_of(claims: dict[str, Any]) -> Sequence[str]:
    said = claims.get("aud") or ()
    return (said,) if isinstance(said, str) else said


def _listed(audiences: Sequence[str]) -> str:
    return f"[{' '.join(map(quote, audiences))}]"
