"""Read bootstrap tokens, which the Secrets of one type hold, and what they sign: the proof of a cluster-info.

A token is `id.secret`. Follows cluster-bootstrap (token/api, token/util, token/jws, util/secrets) and
plugin/pkg/auth/authenticator/token/bootstrap/bootstrap.go.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import Any, NamedTuple

from proa.objects import meta

SECRET_TYPE = "bootstrap.kubernetes.io/token"  # noqa: S105 - the type of Secrets, no secret
SECRET_PREFIX = "bootstrap-token-"  # noqa: S105 - how their names begin
NAMESPACE = "kube-system"
USER_PREFIX = "system:bootstrap:"
GROUP = "system:bootstrappers"
NODE_GROUP = "system:bootstrappers:kubeadm:default-node-token"
"""What kubeadm's tokens are of, and what its roles for joining are bound to."""
CLUSTER_INFO = "cluster-info"
PUBLIC_NAMESPACE = "kube-public"
KUBECONFIG_KEY = "kubeconfig"
SIGNATURE_PREFIX = "jws-kubeconfig-"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class BootstrapToken(NamedTuple):
    """A token that a Secret holds. `expires_at` is in epoch seconds, None for never."""

    id: str
    secret: str
    expires_at: float | None
    usages: tuple[str, ...]
    groups: tuple[str, ...]
    description: str = ""

    @property
    def token(self) -> str:
        """Return it as a client shows it."""
        return f"{self.id}.{self.secret}"

    def is_expired(self, now: float) -> bool:
        """Tell whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


def split_token(token: str) -> tuple[str, str] | None:
    """Return (id, secret) of what has a token's form, None for anything else."""
    found = _TOKEN.fullmatch(token)
    return (found[1], found[2]) if found else None


def secret_name(token_id: str) -> str:
    """Return the name of a token's Secret."""
    return SECRET_PREFIX + token_id


def read_token(secret: dict[str, Any]) -> BootstrapToken | None:
    """Return the token in a Secret, None where it holds none that can be used; one that is expired is returned.

    An expiration that cannot be read has been reached, as upstream has it.
    """
    token_id = _text(secret, "token-id")
    if secret.get("type") != SECRET_TYPE or meta.is_deleting(secret):
        return None
    if split_token(f"{token_id}.{_text(secret, 'token-secret')}") is None:
        return None
    if meta.name(secret) != secret_name(token_id):
        return None
    groups = [group for group in _text(secret, "auth-extra-groups").split(",") if group]
    if any(not _EXTRA_GROUP.fullmatch(group) for group in groups):
        return None
    usages = ("authentication", "signing")
    return BootstrapToken(
        token_id,
        _text(secret, "token-secret"),
        _expiration(_text(secret, "expiration")),
        tuple(usage for usage in usages if _text(secret, f"usage-bootstrap-{usage}") == "true"),
        tuple(groups),
        _text(secret, "description"),
    )


def make_secret(token: BootstrapToken) -> dict[str, Any]:
    """Return the Secret for a token, as kubeadm makes it."""
    data = {
        "token-id": token.id,
        "token-secret": token.secret,
        **{f"usage-bootstrap-{usage}": "true" for usage in token.usages},
    }
    if token.expires_at is not None:
        data["expiration"] = meta.format_time(token.expires_at)
    if token.groups:
        data["auth-extra-groups"] = ",".join(token.groups)
    if token.description:
        data["description"] = token.description
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(token.id), "namespace": NAMESPACE},
        "type": SECRET_TYPE,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def sign(content: str, token_id: str, secret: str) -> str:
    """Return the detached signature of a text, a JWS without its payload (HS256)."""
    header = _encode(json.dumps({"alg": "HS256", "kid": token_id}, separators=(",", ":")).encode())
    signed = f"{header}.{_encode(content.encode())}"
    return f"{header}..{_encode(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def is_signed(content: str, signature: str, token_id: str, secret: str) -> bool:
    """Tell whether a detached signature is that token's, of that text."""
    return hmac.compare_digest(signature.encode(), sign(content, token_id, secret).encode())


def _expiration(text: str) -> float | None:
    if not text:
        return None
    try:
        return meta.parse_time(text)
    except ValueError:
        return 0.0


def _text(secret: dict[str, Any], key: str) -> str:
    """Return one value; what is no text counts as none."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "").decode()
    except ValueError:
        return ""


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
