"""Say which ClusterIPs and node ports there are, and in which order those that nobody asks for are tried: pure.

As upstream does (pkg/registry/core/service/ipallocator, portallocator), automatic ones come from the upper part of a
range, so that low ones can be asked for by name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from itertools import chain

NODE_PORTS = range(30000, 32768)
STATIC_PORTS = 86
"""min(max(16, size / 32), 128) of the port range is left to those who ask for a port."""

Randrange = Callable[[int, int], int]
"""As `random.randrange`."""


class AddressRange:
    """The addresses of one service CIDR."""

    def __init__(self, cidr: str) -> None:
        self.network = ipaddress.ip_network(cidr)
        self.family = f"IPv{self.network.version}"
        size = self.network.num_addresses
        self._static = min(max(16, size // 16), 256) if size > 32 else 1
        self._size = size - 1 if self.network.version == 4 else size  # only IPv4 has a broadcast address

    def find(self, wanted: str) -> str | None:
        """Return an address that is asked for as it is written, None where it is not one of the range."""
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError:
            return None
        offset = int(address) - int(self.network.network_address)
        is_inside = address.version == self.network.version and 0 < offset < self._size
        return str(address) if is_inside else None

    def automatic(self, randrange: Randrange) -> Iterator[str]:
        """Yield every address once, from a random one on, the lower part of the range last."""
        first = self.network.network_address
        for offset in _around((self._static, self._size), (1, self._static), randrange):
            yield str(first + offset)


class PortRange:
    """The node ports."""

    def __init__(self, ports: range = NODE_PORTS) -> None:
        self._ports = ports

    def read(self, wanted: int) -> int:
        """Return a port that is asked for; raise ValueError, with why, for one not in range."""
        if wanted not in self._ports:
            first, last = self._ports[0], self._ports[-1]
            raise ValueError(
                f"provided port is not in the valid range. The range of valid ports is {first}-{last}"
            )
        return wanted

    def automatic(self, randrange: Randrange) -> Iterator[int]:
        """Yield every port once, from a random one on, the lower part of the range last."""
        first, end = self._ports[0], self._ports[-1] + 1
        static = min(first + STATIC_PORTS, end)
        return _around((static, end), (first, static), randrange)


def _around(upper: tuple[int, int], lower: tuple[int, int], randrange: Randrange) -> Iterator[int]:
    for low, high in (upper, lower):
        if high > low:
            start = randrange(low, high)
            yield from chain(range(start, high), range(low, start))
