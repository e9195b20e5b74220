"""Nothing is believed of a cluster but what the token has signed and the hash is of."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from proa.apiserver.pki import ensure_pki
from proa.joining.discovery import check, explain
from proa.joining.invitation import hash_authority, make_cluster_info, make_kubelet_config
from proa.joining.membership import JoinFailure
from proa.objects.bootstrap_tokens import sign

SERVER = "https://192.0.2.1:6443"
TOKEN_ID, SECRET = "abcdef", "0123456789abcdef"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder: Path = tmp_path_factory.mktemp("pki")
    return ensure_pki(
        folder, ["localhost"], datetime.datetime.now(datetime.UTC)
    ).authority.certificate.read_bytes()


def make_info(authority: bytes) -> dict[str, Any]:
    content = make_cluster_info(SERVER, authority)
    return {"data": {"kubeconfig": content, f"jws-kubeconfig-{TOKEN_ID}": sign(content, TOKEN_ID, SECRET)}}


def test_a_cluster_that_the_token_has_signed_and_the_hash_is_of_is_believed(authority: bytes) -> None:
    found = check(
        make_info(authority),
        SERVER,
        f"{TOKEN_ID}.{SECRET}",
        hash_authority(authority).upper().replace("SHA", "sha"),
    )
    assert found == authority


@pytest.mark.parametrize(
    ("token", "ca_hash", "words"),
    [
        pytest.param("ghijkl.0123456789abcdef", "", "does not know the token ghijkl", id="unknown-token"),
        pytest.param("abcdef.ffffffffffffffff", "", "its second part is wrong", id="wrong-secret"),
        pytest.param(
            "abcdef.0123456789abcdef", "sha256:00", "this is another cluster", id="another-authority"
        ),
        pytest.param("abcdef", "", "six characters, a dot", id="no-token"),
    ],
)
def test_any_other_is_not_and_the_secret_is_not_told(
    authority: bytes, token: str, ca_hash: str, words: str
) -> None:
    with pytest.raises(JoinFailure, match=words) as failure:
        check(make_info(authority), SERVER, token, ca_hash or hash_authority(authority))
    assert "0123456789abcdef" not in str(failure.value)


def test_a_word_that_was_changed_is_not_believed(authority: bytes) -> None:
    info = make_info(authority)
    info["data"]["kubeconfig"] = info["data"]["kubeconfig"].replace("192.0.2.1", "192.0.2.66")
    with pytest.raises(JoinFailure, match="somebody answers in the cluster's place"):
        check(info, SERVER, f"{TOKEN_ID}.{SECRET}", hash_authority(authority))


@pytest.mark.parametrize(
    ("problem", "offset", "words"),
    [
        ("certificate verify failed: certificate is not yet valid", 3600.0, "clock is 3600 s behind"),
        ("certificate verify failed: certificate has expired", -3600.0, "clock is 3600 s ahead of"),
        ("certificate verify failed: IP address mismatch", 0.0, "for other names"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", 0.0, "does not speak TLS"),
        ("cannot connect: refused", 0.0, "proa up --listen ADDRESS"),
    ],
)
def test_why_a_server_is_not_reached_is_said_with_what_helps(problem: str, offset: float, words: str) -> None:
    assert words in explain(SERVER, problem, offset)


def test_kubelets_are_told_where_dns_is_and_for_how_long_they_are_believed() -> None:
    assert "nodeLeaseDurationSeconds: 8" in make_kubelet_config("10.96.0.10", 8)
