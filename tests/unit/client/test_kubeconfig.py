from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from proa.client.kubeconfig import Cluster, TokenFile, in_cluster, load_kubeconfig, make_ssl_context
from proa.objects.errors import BadRequest


def make_config(cluster: dict[str, Any], user: dict[str, Any], **top: Any) -> dict[str, Any]:
    return {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
        **top,
    }


def load(folder: Path, config: Any, context: str = "") -> Cluster:
    file = folder / "config"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    return load_kubeconfig(file, context)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_data_in_the_file_is_read(tmp_path):
    config = make_config(
        {"certificate-authority-data": encoded("CA"), "tls-server-name": "kubernetes"},
        {"client-certificate-data": encoded("CERT"), "client-key-data": encoded("KEY"), "token": "T"},
    )
    assert load(tmp_path, config) == Cluster(
        "https://127.0.0.1:6443", "default", b"CA", b"CERT", b"KEY", "T", "kubernetes"
    )


def test_files_beside_it_are_read(tmp_path):
    for name in ("ca", "cert", "key", "token"):
        (tmp_path / name).write_text(name + "\n")
    user = {"client-certificate": "cert", "client-key": str(tmp_path / "key"), "tokenFile": "token"}
    cluster = load(tmp_path, make_config({"certificate-authority": "ca"}, user))
    assert (cluster.authority, cluster.certificate, cluster.key) == (b"ca\n", b"cert\n", b"key\n")
    assert cluster.token_file == tmp_path / "token"


def test_a_token_in_a_file_is_read_again_now_and_then(tmp_path):
    file, time = tmp_path / "token", [0.0]
    token = TokenFile(file, lambda: time[0])
    with pytest.raises(FileNotFoundError):
        token()
    file.write_text("one\n")
    assert token() == "one"
    file.write_text("two\n")
    assert token() == "one"
    time[0] = 60.0
    assert token() == "two"
    file.unlink()
    time[0] = 120.0
    assert token() == "two"


def test_a_pod_knows_its_cluster_without_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("proa.client.kubeconfig.ACCOUNT_FILES", tmp_path)
    (tmp_path / "ca.crt").write_bytes(b"CA")
    assert in_cluster({}) is None
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"})
    assert found == Cluster("https://[fd00::1]:443", authority=b"CA", token_file=tmp_path / "token")


def test_a_server_may_be_asked_without_the_user():
    cluster = Cluster("https://a", authority=b"CA", certificate=b"C", key=b"K", token="T", proxy="http://p")
    assert cluster.without_user() == Cluster("https://a", authority=b"CA", proxy="http://p")


def test_another_context_may_be_named(tmp_path):
    contexts = [
        {"name": "one", "context": {"cluster": "c", "user": "u"}},
        {"name": "two", "context": {"cluster": "c", "namespace": "team"}},
    ]
    cluster = load(tmp_path, make_config({}, {"token": "T"}, contexts=contexts), "two")
    assert (cluster.namespace, cluster.token) == ("team", "")


def test_a_proxy_may_be_named(tmp_path):
    assert load(tmp_path, make_config({"proxy-url": "http://p:1"}, {})).proxy == "http://p:1"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (": :", "line 1: is not YAML: expected <block end>"),
        ("a: 1\n---\nb: 2", "line 2: is not YAML: but found another document$"),
        ("[]", "is not a kubeconfig"),
        (make_config({}, {}, **{"current-context": ""}), "current-context: is not set"),
        (make_config({}, {}, **{"current-context": "none"}), "contexts: has no 'none'"),
        (make_config({}, {}, users=[]), "users: has no 'u'"),
        (make_config({"server": ""}, {}), r"clusters\[c\].server: is not set"),
        (
            make_config({}, {"exec": {"command": "aws"}}),
            r"users\[u\].exec: credential plugins are not supported",
        ),
        (make_config({}, {"as": "other"}), r"users\[u\].as: acting as another user is not supported"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_place(tmp_path, config, message):
    with pytest.raises(BadRequest, match=message):
        load(tmp_path, config)


def test_plain_http_needs_no_tls_and_verification_may_be_off():
    assert make_ssl_context(Cluster("http://127.0.0.1:8001")) is None
    unverified = make_ssl_context(Cluster("https://127.0.0.1:6443", skip_tls_verify=True))
    assert unverified is not None
    assert not unverified.check_hostname
