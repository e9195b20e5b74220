"""Who joins is told what cannot come true before the cluster signs anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proa.home import Home
from proa.joining import enrolment
from proa.joining.membership import JoinFailure


def test_the_cluster_s_own_machine_is_told_that_it_needs_no_joining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def discover(server: str, token: str, ca_hash: str) -> bytes:
        return b"the authority"

    monkeypatch.setattr(enrolment, "discover", discover)
    wanted = enrolment.Wanted("https://127.0.0.1:6443", "a.b", "sha256:0", "far", 0, "", "yes", "")
    with pytest.raises(JoinFailure, match="`proa up --nodes N`"):
        asyncio.run(enrolment.enrol(Home(tmp_path / "home"), wanted))
    assert not (tmp_path / "home").exists()
