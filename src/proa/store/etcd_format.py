"""Lay out a cluster's keys and values in etcd, so that all API servers see the same bytes.

A value contains the revision that wrote it (an object's resourceVersion), which etcd gives only as it writes. As
upstream does, it is left out of what is stored, and put in as it is read:

    value = offset ["," offset]* "\\n" body         the revision's digits go into `body` at each offset
    value = "-\\n" body                             a body without a revision

Beside each write, in the same transaction, one key of the whole cluster is written, `<prefix>/!head`:

    head  = id "\\n" [value]

Its modification revision is the newest of all below the prefix, deletes included: what a consistent read needs to
know costs the read of one small key. `id` lets a writer that lost its connection find out what became of its write.
`value` is, for a delete, the object's last state, which watchers of every server get to see.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from proa.store.protocol import CannotOpen

HEAD = "!head"
SERVER = "!server"
SHARERS = "!servers/"
_ESCAPED = "=!"
_random = random.SystemRandom()


class KeySpace:
    """The keys below one prefix of etcd."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}/".encode()
        self.begin, self.end = self._prefix, prefix.encode() + b"0"  # "0" is the character after "/"
        self.head = self._prefix + HEAD.encode()
        self.server = self._prefix + SERVER.encode()
        self.sharers = self._prefix + SHARERS.encode()
        self.sharers_end = self.sharers[:-1] + b"0"

    def sharer(self, owner: str) -> bytes:
        """Return the key of one of several servers that share the prefix."""
        return self.sharers + owner.encode()

    def encode(self, key: str) -> bytes:
        """Return etcd's key: `/registry/x` is `<prefix>/registry/x`; any other is told apart by a `=`."""
        plain = len(key) > 1 and key[0] == "/" and key[1] not in _ESCAPED
        return self._prefix + (key[1:] if plain else f"={key}").encode()

    def decode(self, name: bytes) -> str | None:
        """Return the store's key, None for one of our own."""
        rest = name[len(self._prefix) :].decode()
        if rest.startswith("="):
            return rest[1:]
        return None if rest.startswith("!") else f"/{rest}"


def pack(encode: Callable[[int], bytes]) -> bytes:
    """Return what is stored for what `encode` makes of a revision that is not known yet.

    It is given a number that nobody can have put into the object: random, and never seen outside.
    """
    placeholder = _random.randrange(10**17, 10**18)
    body, digits = encode(placeholder), str(placeholder).encode()
    pieces = body.split(digits)
    if len(pieces) == 1:
        return b"-\n" + body
    offsets, end = [], 0
    for piece in pieces[:-1]:
        end += len(piece)
        offsets.append(b"%d" % end)
    return b",".join(offsets) + b"\n" + b"".join(pieces)


def unpack(stored: bytes, revision: int) -> bytes:
    """Return the value as of the revision that wrote it; raise CannotOpen where it is not one of ours."""
    end = stored.find(b"\n", 0, 256)
    head = stored[:end] if end >= 0 else b""
    if head == b"-":
        return stored[2:]
    try:
        offsets = [int(part) for part in head.split(b",")]
    except ValueError:
        raise CannotOpen(f"the value is not one that proa wrote: {stored[:40]!r}") from None
    digits = b"%d" % revision
    if len(offsets) == 1:
        at = end + 1 + offsets[0]
        return b"%b%b%b" % (stored[end + 1 : at], digits, stored[at:])
    body, pieces, done = stored[end + 1 :], list[bytes](), 0
    for offset in offsets:
        pieces += (body[done:offset], digits)
        done = offset
    return b"".join([*pieces, body[done:]])
