"""What stands between a value and how it is stored: nothing, or encryption at rest.

Stores call `seal` as they write and `open` as they read from their disk or network, never for what is in memory.
"""

from __future__ import annotations

from typing import Protocol

from proa.store.protocol import StoreError

ENCRYPTED = b"k8s:enc:"
"""What every encrypted value begins with, upstream's as well."""


class CannotDecrypt(StoreError):
    """A value is encrypted with a key that is not at hand, or was tampered with. It stays as it is."""


class Transformer(Protocol):
    """Seals values and opens them. Pure, but for random numbers."""

    def seal(self, key: str, value: bytes) -> bytes:
        """Return what is stored at the store's key."""

    def open(self, key: str, stored: bytes) -> tuple[bytes, bool]:
        """Return (the value, whether `seal` would not store it so any more); raise CannotDecrypt."""


class Plain:
    """Stores values as they are, and does not take an encrypted one for a value."""

    def seal(self, key: str, value: bytes) -> bytes:
        """See `Transformer.seal`."""
        return value

    def open(self, key: str, stored: bytes) -> tuple[bytes, bool]:
        """See `Transformer.open`."""
        if stored.startswith(ENCRYPTED):
            raise CannotDecrypt(
                f"{key} is encrypted ({describe(stored)}), and this server has no keys: start it with "
                "--encryption-config FILE"
            )
        return stored, False


def describe(stored: bytes) -> str:
    """Return the words for how a value is encrypted: `aesgcm, key "k1"`."""
    parts = stored[len(ENCRYPTED) : len(ENCRYPTED) + 300].split(b":", 3)
    if len(parts) < 4:
        return "by an unknown provider"
    return f'{parts[0].decode(errors="replace")}, key "{parts[2].decode(errors="replace")}"'
