"""Answer TokenRequests: make tokens for service accounts, for audiences and a time, bound to objects that exist.

Follows pkg/registry/core/serviceaccount/storage/token.go and pkg/serviceaccount/claims.go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proa.apiserver.handlers.bodies import AUXILIARY, read_auxiliary
from proa.apiserver.handlers.field_managers import read_writer
from proa.apiserver.handlers.negotiation import answer_object, negotiate
from proa.apiserver.handlers.options import write_options
from proa.apiserver.handlers.write import is_dry_run
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.metadata import new_uid
from proa.apiserver.registry.notes import annotate_audit
from proa.apiserver.registry.refusals import conflict, invalid, method_not_allowed, not_found
from proa.apiserver.registry.registry import ResourceRegistry
from proa.apiserver.tokens.authenticator import BOUND, ISSUER, PREFIX
from proa.client.protocol import Object, Request, Response
from proa.objects.errors import BadRequest, Cause, ServiceUnavailable
from proa.objects.managed_fields.update import created
from proa.objects.meta import format_time
from proa.objects.resource import NODES, PODS, Resource
from proa.objects.schemas.load import schema_named
from proa.objects.token_keys import NoKey, TokenKeys
from proa.objects.validation import quote

GROUP = "authentication.k8s.io"
DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
EXTENDED_SECONDS = 365 * 24 * 3600
"""Mounted tokens (of 3607 s) live a year, so that old clients that never read them again go on."""
BOUND_TOKEN_SECONDS = 3607


class TokenIssuer:
    """Makes tokens for the accounts of a catalog."""

    def __init__(self, catalog: Catalog, keys: TokenKeys) -> None:
        self._catalog = catalog
        self._keys = keys

    async def serve(
        self, request: Request, registry: ResourceRegistry, namespace: str, name: str
    ) -> Response:
        """Answer POST serviceaccounts/{name}/token."""
        if request.method != "POST":
            raise method_not_allowed()
        representation = negotiate(request.headers.get("accept", ""))
        body = read_auxiliary(request, "TokenRequest")
        _check_place(body, namespace, name)
        account = registry.find(namespace, name)
        if account is None:
            raise not_found(registry.resource, name)
        _check_uid(body, account)
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
        seconds = spec.get("expirationSeconds", DEFAULT_SECONDS)
        _check_seconds(seconds)
        audiences = spec.get("audiences") or [ISSUER]
        now = int(self._catalog.now())
        bound = self._bound_claims(namespace, name, spec.get("boundObjectRef"))
        claims = _make_claims(account, bound, audiences, seconds, now)
        annotate_audit("authentication.kubernetes.io/issued-credential-id", f"JTI={claims['jti']}")
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
            "status": {"token": self._sign(claims), "expirationTimestamp": format_time(now + seconds)},
        }
        return answer_object(answered, representation, 201)

    def _managed_fields(self, request: Request, registry: ResourceRegistry, body: Object) -> list[Object]:
        writer = read_writer(request, registry, "CreateOptions", "token")
        writer = replace(writer, api_version="authentication.k8s.io/v1")
        return created(body, None, schema_named(AUXILIARY["TokenRequest"]), writer)

    def _bound_claims(self, namespace: str, account: str, ref: Object | None) -> dict[str, Any]:
        """Return the claims about the object that the token is bound to, which must exist."""
        if not ref:
            return {}
        known = BOUND.get(ref.get("kind", ""))
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

    def _sign(self, claims: dict[str, Any]) -> str:
        try:
            return self._keys.sign(claims)
        except NoKey as error:
            raise ServiceUnavailable(str(error)) from None


def _check_place(body: Object, namespace: str, name: str) -> None:
    """Raise Invalid where the body says another account than the URL."""
    metadata = body.get("metadata") or {}
    for field, meant in (("name", name), ("namespace", namespace)):
        given = metadata.get(field)
        if given and given != meant:
            why = f"must match the service account {field} if specified"
            cause = Cause("FieldValueInvalid", f"Invalid value: {quote(given)}: {why}", f"metadata.{field}")
            raise invalid("TokenRequest", GROUP, name, [cause])


def _check_uid(body: Object, account: Object) -> None:
    """Raise Conflict where the body means another account of that name."""
    given, uid = (body.get("metadata") or {}).get("uid"), account["metadata"]["uid"]
    if given and given != uid:
        kind = Resource(GROUP, "v1", "TokenRequest", "TokenRequest")
        why = f"the UID in the token request ({given}) does not match the UID of the service account ({uid})"
        raise conflict(kind, account["metadata"]["name"], why)


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
        "sub": f"{PREFIX}{namespace}:{name}",
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
        raise invalid("TokenRequest", GROUP, "", causes)
