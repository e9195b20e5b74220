"""Tell whom a bootstrap token names: `system:bootstrap:ID`, while its Secret is good for that.

Follows plugin/pkg/auth/authenticator/token/bootstrap/bootstrap.go.
"""

from __future__ import annotations

import hmac

from proa.client.protocol import Object, User
from proa.objects.bootstrap_tokens import GROUP, USER_PREFIX, read_token


def user_of_token(secret: Object | None, token: str, now: float) -> User | None:
    """Return the user of the token whose id names `secret`, None where it is not good."""
    known = read_token(secret) if secret is not None else None
    if known is None or not hmac.compare_digest(known.token.encode(), token.encode()):
        return None
    if known.is_expired(now) or "authentication" not in known.usages:
        return None
    groups = dict.fromkeys((GROUP, *sorted(known.groups), "system:authenticated"))
    return User(USER_PREFIX + known.id, tuple(groups))
