"""A cluster is what it was last asked to be, and is found where it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.cluster_settings import BadSettings, Settings, Wanted, keep_settings, read_settings
from proa.home import Home


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1", "127.0.0.1"), ("192.0.2.7", "192.0.2.7"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")],
)
def test_what_listens_everywhere_is_found_on_loopback(listen: str, address: str) -> None:
    assert Settings("id", 6443, listen).address == address


def test_what_is_kept_is_what_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_settings(home) is None
    settings = Settings("id", 7000, store="etcd://a", audit_policy="default")
    keep_settings(home, settings, None)
    assert read_settings(home) == settings


@pytest.mark.parametrize("text", ["{", "[]", '{"id": "a"}', '{"id": "a", "port": 1, "colour": "red"}'])
def test_what_no_cluster_has_written_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(BadSettings, match=r"cluster.json cannot be read"):
        read_settings(Home(tmp_path))


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (Wanted(), []),
        (Wanted(port=0), []),
        (
            Wanted(port=7000, listen="127.0.0.1", store="log", encryption_config="", audit_policy="default"),
            [],
        ),
        (Wanted(port=7001), ["--port", "7001"]),
        (Wanted(outside_network="yes"), []),
        (Wanted(outside_network="no"), ["--outside-network", "no"]),
        (Wanted(store="etcd://a"), ["--store", "etcd://a"]),
        (Wanted(audit_policy=""), ["--audit-policy", ""]),
    ],
    ids=[
        "nothing",
        "any port",
        "the same",
        "a port",
        "outside as it is",
        "outside no",
        "a store",
        "no audit",
    ],
)
def test_only_what_is_otherwise_is_unmet(wanted: Wanted, options: list[str]) -> None:
    assert Settings("id", 7000, audit_policy="default").unmet(wanted).options() == options
