"""Name content by its SHA-256, as `sha256:<64 hexadecimal digits>` (image-spec, descriptor.md)."""

from __future__ import annotations

import hashlib
import re

from proa.images.errors import InvalidImage

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def digest_of(data: bytes) -> str:
    """Return the digest of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """Return a digest's hexadecimal digits; raise InvalidImage for what is no SHA-256 digest."""
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if found is None:
        raise InvalidImage(f"{digest!r} is no digest that is supported here: sha256:<64 hexadecimal digits>")
    return found[1]


def is_digest(text: str) -> bool:
    """Tell whether this is a SHA-256 digest."""
    return _DIGEST.fullmatch(text) is not None
