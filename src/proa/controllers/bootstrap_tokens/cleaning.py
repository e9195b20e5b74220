"""Delete bootstrap tokens whose time is over.

Watches the Secrets of tokens and deletes them. Follows pkg/controller/bootstrap/tokencleaner.go.
"""

from __future__ import annotations

from proa.objects.bootstrap_tokens import NAMESPACE, SECRET_TYPE, read_token
from proa.objects.errors import Conflict, NotFound
from proa.objects.meta import uid
from proa.objects.resource import SECRETS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "tokencleaner"
ACCOUNT = "token-cleaner"
TOKENS = f"type={SECRET_TYPE}"
WATCHES = (Watch(SECRETS, field_selector=TOKENS),)


async def reconcile(context: Context, key: Key) -> Result:
    """Delete the token `key.name` when its time is over."""
    secret = context.caches(SECRETS, TOKENS).get(key.name, key.namespace)
    token = read_token(secret) if secret is not None and key.namespace == NAMESPACE else None
    if secret is None or token is None or token.expires_at is None:
        return DONE
    left = token.expires_at - context.now()
    if left > 0:
        return Result(requeue_after=left)
    try:
        await context.client.delete(SECRETS, key.name, key.namespace, uid=uid(secret))
    except (Conflict, NotFound):
        return DONE
    return DONE
