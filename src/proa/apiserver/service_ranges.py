"""Know from which ranges ClusterIPs are given out: the server's own, and every ServiceCIDR that is ready.

A ServiceCIDR counts from when its controller has said that it is ready until it is deleted. Follows
pkg/registry/core/service/ipallocator/cidrallocator.go.
"""

from __future__ import annotations

import orjson

from proa.apiserver.address_ranges import AddressRange
from proa.apiserver.registry.derived import Derived
from proa.objects.meta import has_condition, is_deleting
from proa.objects.resource import SERVICE_CIDRS
from proa.store.protocol import Store


class ServiceRanges:
    """The ranges of one store, the server's own first: one of each family, with a comma between."""

    def __init__(self, store: Store, service_cidr: str) -> None:
        self._store = store
        self._own = service_cidr.split(",")
        self._derived: Derived[tuple[AddressRange, ...]] = Derived(store, (SERVICE_CIDRS,), self._read)

    @property
    def families(self) -> tuple[str, ...]:
        """Return the families of the server's own ranges."""
        return tuple("IPv6" if ":" in cidr else "IPv4" for cidr in self._own)

    def all(self) -> tuple[AddressRange, ...]:
        """Return them as of the newest durable write."""
        return self._derived.value()

    def _read(self) -> tuple[AddressRange, ...]:
        prefix = f"/registry/{SERVICE_CIDRS.group}/{SERVICE_CIDRS.plural}/"
        cidrs = [*self._own]
        for entry in self._store.range(prefix).entries:
            found = orjson.loads(entry.value)
            if has_condition(found, "Ready") and not is_deleting(found):
                cidrs += found["spec"].get("cidrs") or ()
        return tuple(AddressRange(cidr) for cidr in dict.fromkeys(cidrs))
