"""Write the parts of an nftables table as messages: chains, rules, sets, elements. Pure.

Layouts: linux/netfilter/nf_tables.h. The numbers of types are nft's (include/datatype.h), so that nft can list what is
there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.network.netfilter import messages
from proa.network.netfilter.messages import APPEND, CREATE, Message, attribute, items, nested, text, u32

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
IPV4_ADDRESS, IPV6_ADDRESS, PROTOCOL, PORT = (7, 4), (8, 16), (12, 1), (13, 2)
"""Types: nft's number, and how many bytes."""
_MAP = 0x8
_VERDICTS = 0xFFFFFF00
_VERDICT_BYTES = 16


class Table(NamedTuple):
    """A table of a family (2: IPv4, 10: IPv6)."""

    name: str
    family: int

    def removal(self) -> list[Message]:
        """Return what removes it, whether it is there or not."""
        return [self.add(), self._message(messages.DELETE_TABLE, 0, b"", "delete table")]

    def add(self, flags: int = 0) -> Message:
        """Return what makes it, where it is not there; with EXCLUSIVE that it is there is refused."""
        return Message(messages.NEW_TABLE, CREATE | flags, self.family, text(1, self.name), "add table")

    def chain(self, name: str, hook: int | None = None, priority: int = 0) -> Message:
        """Return what makes a chain: of a hook, or one to jump to."""
        found = b""
        if hook is not None:
            found = nested(4, u32(1, hook), u32(2, priority)) + text(7, "filter")
        return self._message(messages.NEW_CHAIN, CREATE, text(3, name) + found, f"add chain {name}")

    def no_chain(self, name: str) -> Message:
        """Return what removes a chain that nothing jumps to any more, and its rules."""
        return self._message(messages.DELETE_CHAIN, 0, text(3, name), f"delete chain {name}")

    def flush(self, chain: str) -> Message:
        """Return what removes all rules of a chain."""
        return self._message(messages.DELETE_RULE, 0, text(2, chain), f"flush chain {chain}")

    def rule(self, chain: str, expressions: Iterable[bytes]) -> Message:
        """Return what adds a rule to the end of a chain."""
        attributes = text(2, chain) + items(4, expressions)
        return self._message(messages.NEW_RULE, CREATE | APPEND, attributes, f"add rule to {chain}")

    def set(
        self, number: int, name: str, key: Sequence[tuple[int, int]], *, verdicts: bool = False
    ) -> Message:
        """Return what makes a set of such keys, or a map of them to verdicts; its number is this transaction's."""
        kind, length = 0, 0
        for type_, size in key:
            kind, length = kind << 6 | type_, length + (size + 3 & ~3)
        parts = [text(2, name), u32(3, _MAP if verdicts else 0), u32(4, kind), u32(5, length)]
        if verdicts:
            parts += [u32(6, _VERDICTS), u32(7, _VERDICT_BYTES)]
        return self._message(messages.NEW_SET, CREATE, b"".join((*parts, u32(10, number))), f"add set {name}")

    def no_set(self, name: str) -> Message:
        """Return what removes a set that no rule asks any more."""
        return self._message(messages.DELETE_SET, 0, text(2, name), f"delete set {name}")

    def add_elements(self, name: str, elements: Iterable[bytes]) -> list[Message]:
        """Return what adds elements (each of `element`) to a set."""
        return self._elements(messages.NEW_ELEMENTS, CREATE, name, elements, f"add to set {name}")

    def delete_elements(self, name: str, elements: Iterable[bytes]) -> list[Message]:
        """Return what removes elements, which must be there."""
        return self._elements(messages.DELETE_ELEMENTS, 0, name, elements, f"take from set {name}")

    def _elements(
        self, kind: int, flags: int, name: str, elements: Iterable[bytes], doing: str
    ) -> list[Message]:
        found = [*elements]
        return [
            self._message(kind, flags, text(2, name) + items(3, found[at : at + _ELEMENTS_A_MESSAGE]), doing)
            for at in range(0, len(found), _ELEMENTS_A_MESSAGE)
        ]

    def _message(self, kind: int, flags: int, attributes: bytes, doing: str) -> Message:
        return Message(kind, flags, self.family, text(1, self.name) + attributes, doing)


_ELEMENTS_A_MESSAGE = 500
"""A list is an attribute, and has at most 65,535 bytes."""


def element(key: bytes, verdict: bytes = b"") -> bytes:
    """Encode an element; a map's has a verdict (expressions.verdict)."""
    found = nested(1, attribute(1, key))
    return found + nested(2, verdict) if verdict else found


def port_key(port: int) -> bytes:
    """Return a port as keys have it, padded."""
    return struct.pack(">Hxx", port)


def protocol_key(number: int) -> bytes:
    """Return a protocol as keys have it, padded."""
    return struct.pack("=Bxxx", number)
