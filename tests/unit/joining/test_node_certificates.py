"""A node's certificates are asked for with its own key, renewed in time, and asked for again where that fails."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proa.apiserver.pki import ensure_pki
from proa.client.protocol import WatchEvent
from proa.controllers.certificates.authority import sign
from proa.joining.certificates import (
    Keeper,
    Purpose,
    client_purpose,
    has_names,
    renewal_time,
    request_certificate,
    serving_purpose,
)
from proa.joining.membership import JoinFailure
from proa.objects.certificate_request import kubelet_client_problem, kubelet_serving_problem, read_request
from proa.objects.errors import ServiceUnavailable

NOW = 1_800_000_000.0
DAY = 86400.0


class Cluster:
    """Signs what it is asked for, for 100 days, or answers with a condition; `failures` requests fail first."""

    def __init__(self, folder: Path, *, verdict: str = "", failures: int = 0) -> None:
        import datetime

        self.now = NOW
        self.asked: list[Any] = []
        self._verdict = verdict
        self._failures = failures
        self._pki = ensure_pki(folder, ["localhost"], datetime.datetime.fromtimestamp(NOW, datetime.UTC))

    async def create(self, resource: Any, obj: Any) -> Any:
        if self._failures:
            self._failures -= 1
            raise ServiceUnavailable("away")
        self.asked.append(obj["spec"])
        return {**obj, "metadata": {"name": "csr-1", "resourceVersion": "1"}}

    async def watch(self, resource: Any, **_: Any) -> Any:
        spec = self.asked[-1]
        if self._verdict:
            conditions = [{"type": self._verdict, "status": "True", "message": "not you"}]
            yield WatchEvent(
                "MODIFIED", {"metadata": {"name": "csr-1"}, "status": {"conditions": conditions}}
            )
            return
        request = read_request(spec["request"])
        authority = self._pki.authority
        pem = sign(request, spec["usages"], int(100 * DAY), authority.certificate, authority.key, self.now)
        status = {"certificate": base64.b64encode(pem).decode()}
        yield WatchEvent("MODIFIED", {"metadata": {"name": "csr-1"}, "status": status})


@pytest.mark.parametrize(
    ("purpose", "problem"),
    [
        pytest.param(client_purpose(), kubelet_client_problem, id="client"),
        pytest.param(serving_purpose(["far", "192.0.2.2"]), kubelet_serving_problem, id="server"),
    ],
)
def test_what_is_asked_is_what_the_clusters_signers_take(
    tmp_path: Path, purpose: Purpose, problem: Any
) -> None:
    cluster: Any = Cluster(tmp_path)
    certificate, key = asyncio.run(request_certificate(cluster, "far", purpose))
    (spec,) = cluster.asked
    assert problem(read_request(spec["request"]), spec["usages"]) == ""
    assert spec["signerName"] == purpose.signer
    made = x509.load_pem_x509_certificate(certificate)
    assert made.public_key() == load_pem_private_key(key, None).public_key()
    assert has_names(certificate, purpose.names)
    assert not has_names(certificate, [*purpose.names, "another"])


@pytest.mark.parametrize("verdict", ["Denied", "Failed"])
def test_a_refusal_is_told(tmp_path: Path, verdict: str) -> None:
    cluster: Any = Cluster(tmp_path, verdict=verdict)
    with pytest.raises(JoinFailure, match="refused the certificate csr-1: not you"):
        asyncio.run(request_certificate(cluster, "far", client_purpose()))


class Ended(Exception):
    """The test has seen enough."""


def keep(cluster: Any, folder: Path, renewals: int) -> tuple[list[float], list[float]]:
    """Run a keeper until it has renewed so often; return when it did (days from NOW), and how long it slept (days)."""
    renewed: list[float] = []
    slept: list[float] = []

    def on_renewed() -> None:
        renewed.append((cluster.now - NOW) / DAY)
        if len(renewed) == renewals:
            raise Ended

    async def sleep(seconds: float) -> None:
        slept.append(seconds / DAY)
        cluster.now += seconds

    files = (folder / "client.crt", folder / "client.key")
    keeper = Keeper(
        cluster,
        "far",
        client_purpose(),
        files,
        on_renewed,
        now=lambda: cluster.now,
        sleep=sleep,
        random=lambda: 0.5,
    )
    with pytest.raises(Ended):
        asyncio.run(keeper.run())
    assert files[1].stat().st_mode & 0o777 == 0o600
    assert files[1].read_bytes().endswith(files[0].read_bytes())
    return renewed, slept


def test_a_certificate_is_renewed_when_four_fifths_of_its_life_are_over(tmp_path: Path) -> None:
    cluster: Any = Cluster(tmp_path / "pki")
    renewed, slept = keep(cluster, tmp_path, 3)
    assert renewed == [0.0, pytest.approx(80, abs=0.1), pytest.approx(160, abs=0.2)]
    assert max(slept) <= 1 / 24 + 1e-9


def test_a_cluster_that_is_away_is_asked_again(tmp_path: Path) -> None:
    cluster: Any = Cluster(tmp_path / "pki", failures=2)
    renewed, _ = keep(cluster, tmp_path, 1)
    assert renewed[0] * DAY == pytest.approx(60)


def test_a_certificate_that_is_there_is_kept_while_it_is_good(tmp_path: Path) -> None:
    cluster: Any = Cluster(tmp_path / "pki")
    files = (tmp_path / "client.crt", tmp_path / "client.key")
    keeper = Keeper(cluster, "far", client_purpose(), files, lambda: None, now=lambda: cluster.now)
    for _ in range(2):
        asyncio.run(keeper.ensure())
    assert len(cluster.asked) == 1
    assert renewal_time(files[0].read_bytes(), 0.5) - NOW == pytest.approx(50 * DAY, rel=0.01)
    cluster.now += 99 * DAY
    asyncio.run(keeper.ensure())
    assert len(cluster.asked) == 2
