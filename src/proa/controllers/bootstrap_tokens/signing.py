"""Keep kube-public/cluster-info signed by every bootstrap token that may sign, and by no other.

Whoever has a token can so be sure of the cluster's address and authority before trusting it. Watches that ConfigMap
and the Secrets of tokens; writes the ConfigMap. Follows pkg/controller/bootstrap/bootstrapsigner.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.bootstrap_tokens import (
    CLUSTER_INFO,
    KUBECONFIG_KEY,
    NAMESPACE,
    PUBLIC_NAMESPACE,
    SECRET_TYPE,
    SIGNATURE_PREFIX,
    read_token,
    sign,
)
from proa.objects.errors import Conflict, NotFound
from proa.objects.resource import CONFIG_MAPS, SECRETS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "bootstrapsigner"
ACCOUNT = "bootstrap-signer"
TOKENS = f"type={SECRET_TYPE}"
OURS = f"metadata.name={CLUSTER_INFO},metadata.namespace={PUBLIC_NAMESPACE}"
INFO = Key(PUBLIC_NAMESPACE, CLUSTER_INFO)


def _info(_: Object) -> Iterable[Key]:
    return (INFO,)


WATCHES = (
    Watch(CONFIG_MAPS, field_selector=OURS),
    Watch(SECRETS, keys_of=_info, field_selector=TOKENS),
)


def plan(info: Object | None, secrets: Iterable[Object], now: float) -> tuple[Object | None, float]:
    """Return the ConfigMap to write, None where it is as it should be, and when (epoch seconds) to look again, or 0."""
    if info is None or KUBECONFIG_KEY not in (info.get("data") or {}):
        return None, 0.0
    read = [
        token for secret in secrets if meta.namespace(secret) == NAMESPACE and (token := read_token(secret))
    ]
    tokens = [token for token in read if "signing" in token.usages and not token.is_expired(now)]
    content = info["data"][KUBECONFIG_KEY]
    kept = {key: text for key, text in info["data"].items() if not key.startswith(SIGNATURE_PREFIX)}
    signatures = {SIGNATURE_PREFIX + token.id: sign(content, token.id, token.secret) for token in tokens}
    data = {**kept, **signatures}
    ends = min((token.expires_at for token in tokens if token.expires_at is not None), default=0.0)
    return (None if data == info["data"] else {**info, "data": data}), ends


async def reconcile(context: Context, key: Key) -> Result:
    """Write the signatures that are missing, and take away those that nothing stands behind."""
    info = context.caches(CONFIG_MAPS, OURS).get(key.name, key.namespace)
    wanted, ends = plan(info, context.caches(SECRETS, TOKENS).list(), context.now())
    if wanted is not None:
        try:
            await context.client.update(CONFIG_MAPS, wanted)
        except (Conflict, NotFound):
            return DONE  # its new state comes by the watch
    return Result(requeue_after=max(ends - context.now(), 0.0) + 0.01) if ends else DONE
