"""Read a kubeconfig: where the API server is and how to be known to it.

Certificates, keys and tokens may be in the file or in files that it names, relative to its own folder. Follows
client-go's tools/clientcmd. Credential plugins (`exec`, `auth-provider`) are refused: a cluster of Proa has none.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proa.client.api import ApiClient
from proa.objects.errors import BadRequest
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Cluster:
    """One context of a kubeconfig, resolved. Certificates and keys are PEM; None where there is none."""

    server: str
    namespace: str = "default"
    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    token: str = ""
    tls_server_name: str = ""
    skip_tls_verify: bool = False

    @property
    def is_tls(self) -> bool:
        """Tell whether the server speaks HTTPS."""
        return urlsplit(self.server).scheme == "https"


def connect(path: str | Path, context: str = "") -> ApiClient:
    """Return a client of the cluster that a kubeconfig's (current) context names; close it after use.

    Raises BadRequest where the file cannot be used, OSError where it cannot be read.
    """
    from proa.client.http import HttpTransport

    cluster = load_kubeconfig(path, context)
    return ApiClient(
        HttpTransport(cluster.server, make_ssl_context(cluster), cluster.token, cluster.tls_server_name)
    )


def load_kubeconfig(path: str | Path, context: str = "") -> Cluster:
    """Read one context, the current one where none is named; raise BadRequest, OSError."""
    import yaml

    path = Path(path)
    try:
        config = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise BadRequest(f"{path}: is not YAML: {error}") from None
    if not isinstance(config, dict):
        raise BadRequest(f"{path}: is not a kubeconfig")
    chosen = context or config.get("current-context") or ""
    if not chosen:
        raise BadRequest(f"{path}: current-context: is not set; name a context")
    parts = _named(path, config, "contexts", chosen, "context")
    cluster = _named(path, config, "clusters", parts.get("cluster", ""), "cluster")
    user = _named(path, config, "users", parts["user"], "user") if parts.get("user") else {}
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise BadRequest(f"{path}: users[{parts['user']}].{plugin}: credential plugins are not supported")
    if not cluster.get("server"):
        raise BadRequest(f"{path}: clusters[{parts['cluster']}].server: is not set")
    return Cluster(
        server=cluster["server"].rstrip("/"),
        namespace=parts.get("namespace") or "default",
        authority=_bytes_of(path, cluster, "certificate-authority"),
        certificate=_bytes_of(path, user, "client-certificate"),
        key=_bytes_of(path, user, "client-key"),
        token=_token_of(path, user),
        tls_server_name=cluster.get("tls-server-name") or "",
        skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
    )


def make_ssl_context(cluster: Cluster) -> ssl.SSLContext | None:
    """Return the TLS settings that the cluster needs; None for plain HTTP."""
    if not cluster.is_tls:
        return None
    made = ssl.create_default_context(cadata=cluster.authority.decode() if cluster.authority else None)
    made.set_alpn_protocols(["http/1.1"])
    if cluster.skip_tls_verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if cluster.certificate and cluster.key:
        _load_certificate(made, cluster.certificate, cluster.key)
    return made


def _load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads client certificates from files only; ours live for the blink of an eye, in a private folder."""
    with tempfile.TemporaryDirectory(prefix="proa-") as folder:
        files = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        for file, data in zip(files, (certificate, key), strict=True):
            file.touch(mode=0o600)
            file.write_bytes(data)
        context.load_cert_chain(*files)


def _named(path: Path, config: dict[str, Any], section: str, name: str, field: str) -> dict[str, Any]:
    entries: Iterable[dict[str, Any]] = config.get(section) or ()
    for entry in entries:
        if entry.get("name") == name:
            return entry.get(field) or {}
    raise BadRequest(f"{path}: {section}: has no {name!r}")


def _bytes_of(path: Path, section: dict[str, Any], field: str) -> bytes | None:
    """Return what `field`-data holds in base64, or the content of the file that `field` names."""
    if encoded := section.get(f"{field}-data"):
        return base64.b64decode(encoded)
    if file := section.get(field):
        return path.parent.joinpath(file).read_bytes()
    return None


def _token_of(path: Path, user: dict[str, Any]) -> str:
    if token := user.get("token"):
        return str(token)
    if file := user.get("tokenFile"):
        return path.parent.joinpath(file).read_text().strip()
    return ""
