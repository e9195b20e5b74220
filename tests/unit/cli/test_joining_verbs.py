"""`proa token`, `join` and `leave` take what can be, and say what to do about the rest before anything is asked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from proa.__main__ import main, make_parser
from proa.cli import Failure, UsageError
from proa.cli.join import check_same, read_wanted
from proa.cli.status import print_status
from proa.cli.token import _left, _row, describe, find_url, read_ttl, unreachable
from proa.cluster_settings import Settings
from proa.home import Home
from proa.joining.membership import Membership, keep_membership, read_membership
from proa.objects.bootstrap_tokens import BootstrapToken

GOOD = {
    "--server": "https://192.0.2.1:6443/",
    "--token": "abcdef.0123456789abcdef",
    "--ca-hash": "sha256:" + "0a" * 32,
    "--name": "far",
}
MEMBERSHIP = Membership("https://192.0.2.1:6443", "far", "192.0.2.2")


def parse(**changed: str) -> argparse.Namespace:
    """Return the options of a `proa join`, with others for those named; "" leaves one out."""
    options = {**GOOD, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    words = [word for pair in options.items() if pair[1] for word in pair]
    return make_parser(["join"]).parse_args(["join", *words])


def test_what_is_asked_is_read() -> None:
    wanted = read_wanted(parse())
    assert (wanted.server, wanted.name, wanted.kubelet_port) == ("https://192.0.2.1:6443", "far", 10250)
    assert read_wanted(parse(kubelet_port="0")).kubelet_port == 0
    assert read_wanted(parse(name="")).name


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"server": "", "token": ""}, "--server, --token: needed to join"),
        ({"server": "http://192.0.2.1:6443"}, "a URL like https://192.0.2.1:6443"),
        ({"server": "https://192.0.2.1:6443/api"}, "a URL like https://192.0.2.1:6443"),
        ({"token": "abcdef"}, "--token: six characters, a dot, and sixteen"),
        ({"ca_hash": "sha256:00"}, "sha256: and 64 hexadecimal digits"),
        ({"name": "Far_Away"}, "lower-case letters, digits, dots and dashes"),
        ({"kubelet_port": "65536"}, "a port is a number from 0"),
        ({"node_ports": "far.example"}, "--node-ports far.example: an IP address"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(changed: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_wanted(parse(**changed))


def test_the_token_is_not_shown_to_other_users_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("abcdef.0123456789abcdef\n"))
    assert read_wanted(parse(token="-")).token == "abcdef.0123456789abcdef"


def test_a_home_is_a_node_of_one_cluster_by_one_name(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert check_same(MEMBERSHIP, parse(), home) == MEMBERSHIP
    assert check_same(MEMBERSHIP, make_parser(["join"]).parse_args(["join"]), home) == MEMBERSHIP
    with pytest.raises(Failure, match="already: `proa leave` ends that"):
        check_same(MEMBERSHIP, parse(name="near"), home)


def test_a_membership_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_membership(home) is None
    keep_membership(home, MEMBERSHIP)
    assert read_membership(home) == MEMBERSHIP
    assert (tmp_path / "join.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (["up", "--detach"], "is a node of another cluster: `proa join` starts it"),
        (["token", "ls"], "no cluster runs in"),
    ],
)
def test_other_verbs_tell_a_nodes_home_from_a_clusters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str], words: str
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    keep_membership(Home(home), MEMBERSHIP)
    assert main([verb[0], "--home", str(home), *verb[1:]]) == 1
    assert words in capsys.readouterr().err


def test_who_has_joined_nothing_cannot_leave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leave", "--home", str(tmp_path / "none")]) == 1
    assert "is no node of another machine's cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", ""),
        ("::1", ""),
        ("192.0.2.1", "https://192.0.2.1:6443"),
        ("2001:db8::1", "https://[2001:db8::1]:6443"),
    ],
)
def test_a_cluster_is_found_where_it_listens(listen: str, url: str) -> None:
    settings = Settings("id", 6443, listen)
    assert find_url(settings) == url
    assert "`proa up --listen ADDRESS`" in unreachable(settings)


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86400), ("1h30m", 5400), ("0", 0), ("0s", 0)])
def test_a_tokens_time_is_read(text: str, seconds: float) -> None:
    assert read_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "-1h", "a day"])
def test_a_time_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--ttl"):
        read_ttl(text)


def test_tokens_are_listed_without_their_second_parts() -> None:
    token = BootstrapToken("abcdef", "0123456789abcdef", 1_800_003_600.0, ("signing",), ())
    row = _row(token, 1_800_000_000.0)
    assert row == ("abcdef", "1h", "2027-01-15T09:00:00Z", "signing", "<none>", "<none>")
    assert token.secret not in str(describe(token))
    assert describe(token)["expires"] == "2027-01-15T09:00:00Z"
    assert _row(token, 1_800_003_600.0)[1] == "<expired>"
    assert _row(token._replace(expires_at=None), 0.0)[1:3] == ("<forever>", "<never>")
    assert [_left(seconds) for seconds in (59, 60, 86400)] == ["59s", "1m", "24h"]


def test_a_nodes_status_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    node = {"name": "far", "condition": "True", "isolation": "root", "address": "10.243.0.33"}
    status: dict[str, Any] = {
        "home": "/h", "running": True, "ready": True, "server": "https://192.0.2.1:6443", "startedAt": 0.0,
        "startSeconds": 1.0, "nodes": [node], "pods": {"on this node": 3},
        "processes": [{"name": "node", "memoryBytes": 28_000_000}],
    }  # fmt: skip
    print_status(status)
    shown = capsys.readouterr().out
    assert "far" in shown
    assert "pods: 3 on this node" in shown
    assert "KUBECONFIG" not in shown
