"""Make and judge service-account tokens: JWTs signed with the cluster's ES256 key, bound to objects that still exist.

Follows pkg/serviceaccount/claims.go and pkg/registry/core/serviceaccount/storage/token.go. A token is good while it
has not expired and its account, and the pod or secret that it is bound to, are there with the same uid.
`cryptography` is imported when the first token is made or seen.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from proa.apiserver.handlers.bodies import AUXILIARY, read_auxiliary
from proa.apiserver.handlers.field_managers import read_writer
from proa.apiserver.handlers.negotiation import answer_object, negotiate
from proa.apiserver.handlers.options import write_options
from proa.apiserver.handlers.write import is_dry_run
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.metadata import new_uid
from proa.apiserver.registry.refusals import conflict, invalid, method_not_allowed, not_found
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object, Request, Response, User
from proa.objects.errors import BadRequest, Cause, ServiceUnavailable
from proa.objects.managed_fields.update import created
from proa.objects.meta import format_time
from proa.objects.resource import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Resource
from proa.objects.schemas.load import schema_named

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
EXTENDED_SECONDS = 365 * 24 * 3600
"""Mounted tokens (of 3607 s) live a year, so that old clients that never read them again go on."""
BOUND_TOKEN_SECONDS = 3607
CACHED_TOKENS = 1024
_PREFIX = "system:serviceaccount:"
_BOUND: dict[str, tuple[str, Resource]] = {
    "Pod": ("pod", PODS),
    "Secret": ("secret", SECRETS),
    "Node": ("node", NODES),
}


class TokenIssuer:
    """The cluster's issuer and authenticator of service-account tokens."""

    def __init__(self, catalog: Catalog, private_key: Path | None, public_key: Path | None) -> None:
        self._catalog = catalog
        self._private_path = private_key
        self._public_path = public_key
        self._private: ec.EllipticCurvePrivateKey | None = None
        self._public: ec.EllipticCurvePublicKey | None = None
        self._verified: OrderedDict[str, dict[str, Any]] = OrderedDict()
        """Claims of tokens whose signature was right: verifying costs 100 us, and clients repeat themselves."""

    # Making.

    async def serve(
        self, request: Request, registry: ResourceRegistry, namespace: str, name: str
    ) -> Response:
        """Answer POST serviceaccounts/{name}/token."""
        if request.method != "POST":
            raise method_not_allowed()
        body = read_auxiliary(request, "TokenRequest")
        account = registry.find(namespace, name)
        if account is None:
            raise not_found(registry.resource, name)
        await registry.admit_other(
            "CREATE",
            namespace,
            name,
            "token",
            body,
            request.user,
            dry_run=is_dry_run(request, "CreateOptions"),
            options=write_options(request, "CreateOptions"),
        )
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or DEFAULT_SECONDS
        _check_seconds(seconds)
        audiences = spec.get("audiences") or [ISSUER]
        now = int(self._catalog.now())
        bound = self._bound_claims(namespace, name, spec.get("boundObjectRef"))
        claims = _make_claims(account, bound, audiences, seconds, now)
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": namespace,
            "uid": new_uid(),
            "creationTimestamp": format_time(now),
        }
        if entries := self._managed_fields(request, registry, body):
            metadata["managedFields"] = entries
        answered = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": metadata,
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": self.sign(claims), "expirationTimestamp": format_time(now + seconds)},
        }
        return answer_object(answered, negotiate(request.headers.get("accept", "")), 201)

    def _managed_fields(self, request: Request, registry: ResourceRegistry, body: Object) -> list[Object]:
        writer = read_writer(request, registry, "CreateOptions", "token")
        writer = replace(writer, api_version="authentication.k8s.io/v1")
        return created(body, None, schema_named(AUXILIARY["TokenRequest"]), writer)

    def _bound_claims(self, namespace: str, account: str, ref: Object | None) -> dict[str, Any]:
        """Return the claims about the object that the token is bound to, which must exist."""
        if not ref:
            return {}
        known = _BOUND.get(ref.get("kind", ""))
        if known is None or ref.get("apiVersion") != "v1":
            raise BadRequest(f"cannot bind token for type {ref.get('apiVersion')}, Kind={ref.get('kind')}")
        claim, resource = known
        obj = self._catalog.of(resource).find(namespace, ref.get("name", ""))
        if obj is None:
            raise not_found(resource, ref.get("name", ""))
        uid = obj["metadata"]["uid"]
        if ref.get("uid") and ref["uid"] != uid:
            raise conflict(
                resource,
                ref["name"],
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in "
                f"record. The object might have been deleted and then recreated",
            )
        bound = {claim: {"name": ref["name"], "uid": uid}}
        if resource == PODS:
            spec = obj.get("spec") or {}
            if (spec.get("serviceAccountName") or "default") != account:
                raise BadRequest(
                    f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount '
                    "name."
                )
            node = self._catalog.of(NODES).find("", spec["nodeName"]) if spec.get("nodeName") else None
            if node is not None:
                bound["node"] = {"name": spec["nodeName"], "uid": node["metadata"]["uid"]}
        return bound

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a JWT; raise ServiceUnavailable where there is no key."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        key = self._private_key()
        signed = (
            f"{_encode(orjson.dumps({'alg': 'ES256', 'kid': self.key_id()}))}.{_encode(orjson.dumps(claims))}"
        )
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def key_id(self) -> str:
        """Return the key's name, as upstream makes it: the hash of its public half."""
        import hashlib

        from cryptography.hazmat.primitives import serialization

        der = self._public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return _encode(hashlib.sha256(der).digest())

    # Judging.

    def authenticate(self, token: str) -> User | None:
        """Return the service account that a token names, None where it is not good for this API server."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify(token)
            if claims is None:
                return None
            self._verified[token] = claims
            if len(self._verified) > CACHED_TOKENS:
                self._verified.popitem(last=False)
        return self._user_of(claims)

    def _verify(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that this cluster has signed."""
        if self._public_path is None or token.count(".") != 2:
            return None
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        try:
            raw = _decode(signature)
            if orjson.loads(_decode(head)).get("alg") != "ES256" or len(raw) != 64:
                return None
            rs = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._public_key().verify(rs, signed.encode(), ec.ECDSA(hashes.SHA256()))
            claims = orjson.loads(_decode(payload))
        except (ValueError, AttributeError, InvalidSignature):
            return None
        return claims if isinstance(claims, dict) and claims.get("iss") == ISSUER else None

    def _user_of(self, claims: dict[str, Any]) -> User | None:
        """Check what may change after signing: the time, the account, and what the token is bound to."""
        now = self._catalog.now()
        if not claims.get("nbf", 0) - 60 <= now < claims.get("exp", 0) or ISSUER not in claims.get("aud", ()):
            return None
        private = claims.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        if not self._exists(SERVICE_ACCOUNTS, namespace, account):
            return None
        extra: dict[str, tuple[str, ...]] = {}
        for claim, resource in _BOUND.values():
            ref = private.get(claim)
            if not ref:
                continue
            if claim != "node" and not self._exists(resource, namespace, ref):
                return None
            extra[f"authentication.kubernetes.io/{claim}-name"] = (ref["name"],)
            extra[f"authentication.kubernetes.io/{claim}-uid"] = (ref["uid"],)
        extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims.get('jti', '')}",)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(f"{_PREFIX}{namespace}:{account['name']}", groups, account["uid"], extra)

    def _exists(self, resource: Resource, namespace: str, ref: dict[str, Any]) -> bool:
        """Tell whether an object is there with that uid. Its bytes are looked at, not decoded: this runs often."""
        if not self._catalog.has(resource):
            return False
        registry = self._catalog.of(resource)
        entry = registry.store.get(registry.key(namespace, ref.get("name", "")))
        if entry is None:
            return False
        uid = str(ref.get("uid", ""))
        return (
            f'"uid":"{uid}"'.encode() in entry.value and orjson.loads(entry.value)["metadata"]["uid"] == uid
        )

    def _private_key(self) -> ec.EllipticCurvePrivateKey:
        if self._private is None:
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            if self._private_path is None:
                raise ServiceUnavailable("this server has no key for service-account tokens")
            key = load_pem_private_key(self._private_path.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._private = key
        return self._private

    def _public_key(self) -> ec.EllipticCurvePublicKey:
        if self._public is None:
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.hazmat.primitives.serialization import load_pem_public_key

            if self._public_path is None:
                return self._private_key().public_key()
            key = load_pem_public_key(self._public_path.read_bytes())
            assert isinstance(key, ec.EllipticCurvePublicKey)
            self._public = key
        return self._public


def _make_claims(
    account: Object, bound: dict[str, Any], audiences: list[str], seconds: int, now: int
) -> dict[str, Any]:
    """Return what a token for an account says of itself, from `now` on."""
    namespace, name, uid = (account["metadata"][key] for key in ("namespace", "name", "uid"))
    private = {"namespace": namespace, **bound, "serviceaccount": {"name": name, "uid": uid}}
    lives = seconds
    if bound and seconds == BOUND_TOKEN_SECONDS and audiences == [ISSUER]:
        lives = EXTENDED_SECONDS
        private["warnafter"] = now + seconds
    return {
        "aud": audiences,
        "exp": now + lives,
        "iat": now,
        "iss": ISSUER,
        "jti": new_uid(),
        "kubernetes.io": private,
        "nbf": now,
        "sub": f"{_PREFIX}{namespace}:{name}",
    }


def _check_seconds(seconds: Any) -> None:
    field, causes = "spec.expirationSeconds", []
    if type(seconds) is not int or seconds < MIN_SECONDS:
        why = "may not specify a duration less than 10 minutes"
        causes.append(Cause("FieldValueInvalid", f"Invalid value: {seconds}: {why}", field))
    elif seconds > MAX_SECONDS:
        why = "may not specify a duration larger than 2^32 seconds"
        causes.append(Cause("FieldValueTooLong", f"Invalid value: {seconds}: {why}", field))
    if causes:
        raise invalid("TokenRequest", "authentication.k8s.io", "", causes)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
