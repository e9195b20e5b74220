"""Fill the Secrets of type kubernetes.io/service-account-token, and delete those whose account is gone.

Such a Secret asks, by an annotation, for a token that lasts as long as the Secret. Watches those Secrets and service
accounts, writes Secrets. Follows pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import SECRETS, SERVICE_ACCOUNTS
from proa.objects.token_keys import TokenKeys
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "token-controller"
TYPE = "kubernetes.io/service-account-token"
OURS = f"type={TYPE}"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
ISSUER = "kubernetes/serviceaccount"
_CLAIM = "kubernetes.io/serviceaccount/"


def _secrets_of(account: Object, caches: Caches) -> Iterable[Key]:
    space, name = meta.namespace(account), meta.name(account)
    return [
        Key(space, meta.name(secret))
        for secret in caches(SECRETS, OURS).list(space)
        if meta.annotations(secret).get(ACCOUNT_NAME) == name
    ]


WATCHES = (Watch(SECRETS, field_selector=OURS), Watch(SERVICE_ACCOUNTS, find_keys=_secrets_of))


@dataclass(frozen=True, slots=True)
class Plan:
    """Delete the Secret, or put `data` and `annotations` in; a token is to be made where it `needs_token`."""

    deletes: bool = False
    data: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    needs_token: bool = False


def plan(secret: Object | None, account: Object | None, ca_certificate: str) -> Plan:
    """Decide what a Secret lacks, given the account that it names (None: there is none)."""
    if secret is None or meta.is_deleting(secret):
        return Plan()
    said = meta.annotations(secret)
    if account is None or said.get(ACCOUNT_UID) not in (None, "", meta.uid(account)):
        return Plan(deletes=True)
    had = secret.get("data") or {}
    wanted = {"ca.crt": _encoded(ca_certificate), "namespace": _encoded(meta.namespace(secret))}
    data = {key: value for key, value in wanted.items() if had.get(key) != value}
    named = {ACCOUNT_NAME: meta.name(account), ACCOUNT_UID: meta.uid(account)}
    annotations = {key: value for key, value in named.items() if said.get(key) != value}
    needs_token = not had.get("token")
    return Plan(False, data, annotations, needs_token) if data or annotations or needs_token else Plan()


def make_claims(secret: Object, account: Object) -> dict[str, Any]:
    """Return what the token says; it has no end."""
    space, name = meta.namespace(account), meta.name(account)
    return {
        "iss": ISSUER,
        f"{_CLAIM}namespace": space,
        f"{_CLAIM}secret.name": meta.name(secret),
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": meta.uid(account),
        "sub": f"system:serviceaccount:{space}:{name}",
    }


async def reconcile(context: Context, key: Key) -> Result:
    """Fill or delete the Secret `key`."""
    secret = context.caches(SECRETS, OURS).get(key.name, key.namespace)
    if secret is None:
        return DONE
    account = await _find_account(context, meta.annotations(secret).get(ACCOUNT_NAME, ""), key.namespace)
    decided = plan(secret, account, context.settings.ca_certificate)
    try:
        if decided.deletes:
            await context.client.delete(SECRETS, key.name, key.namespace, uid=meta.uid(secret))
        elif decided.data is not None and account is not None:
            data = {**(secret.get("data") or {}), **decided.data}
            if decided.needs_token:
                token = TokenKeys(context.settings.token_key, None).sign(make_claims(secret, account))
                data["token"] = _encoded(token)
            annotations = {**meta.annotations(secret), **(decided.annotations or {})}
            metadata = {**secret["metadata"], "annotations": annotations}
            await context.client.update(SECRETS, {**secret, "metadata": metadata, "data": data})
    except (Conflict, NotFound):
        return DONE  # its new state comes by the watch
    return DONE


async def _find_account(context: Context, name: str, namespace: str) -> Object | None:
    """Return the account; before a Secret is deleted for the lack of it, the server itself is asked."""
    found = context.caches(SERVICE_ACCOUNTS).get(name, namespace)
    if found is None and name:
        try:
            return await context.client.get(SERVICE_ACCOUNTS, name, namespace)
        except NotFound:
            return None
    return found


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
