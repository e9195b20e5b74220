"""Where clients on this machine find a cluster that listens somewhere."""

from __future__ import annotations

import pytest

from proa.cluster import Settings


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1", "127.0.0.1"), ("192.0.2.7", "192.0.2.7"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")],
)
def test_what_listens_everywhere_is_found_on_loopback(listen: str, address: str) -> None:
    assert Settings("id", 6443, listen).address == address
