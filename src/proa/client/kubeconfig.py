"""Read a kubeconfig: where the API server is and how to be known to it.

Certificates, keys and tokens may be in the file or in files that it names, relative to its own folder; a file with a
token is read again, as those of pods are replaced now and then. In a pod, `in_cluster` knows what no file says. Follows
client-go's tools/clientcmd and rest/config.go.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from proa.client.api import ApiClient
from proa.objects.errors import BadRequest
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from proa.client.http import HttpTransport

ACCOUNT_FILES = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token of its service account, and whom to trust."""
TOKEN_SECONDS = 50.0
"""A file with a token is read again after so long (client-go's transport/token_source.go: a minute, less 10 s)."""
REFUSED = {
    "exec": "credential plugins are not supported",
    "auth-provider": "credential plugins are not supported",
    "username": "passwords are not supported",
    "as": "acting as another user is not supported",
}
"""What of a user would be wrong to pass over."""


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
    token_file: Path | None = None
    proxy: str = ""
    """The URL of a proxy; "" for what the environment says."""

    @property
    def is_tls(self) -> bool:
        """Tell whether the server speaks HTTPS."""
        return urlsplit(self.server).scheme == "https"

    def without_user(self) -> Cluster:
        """Return the same server for somebody whom it does not know."""
        return replace(self, certificate=None, key=None, token="", token_file=None)


def connect(path: str | Path, context: str = "") -> ApiClient:
    """Return a client of the cluster that a kubeconfig's (current) context names; close it after use.

    Raises BadRequest where the file cannot be used, OSError where it cannot be read.
    """
    return ApiClient(make_transport(load_kubeconfig(path, context)))


def make_transport(cluster: Cluster) -> HttpTransport:
    """Return the way to a cluster's API server; raise BadRequest for a proxy that cannot be used."""
    from proa.client.http import HttpTransport
    from proa.client.proxy import find_proxy, make_proxy

    proxy = cluster.proxy or find_proxy(cluster.server, os.environ)
    return HttpTransport(
        cluster.server,
        make_ssl_context(cluster),
        TokenFile(cluster.token_file) if cluster.token_file is not None else cluster.token,
        cluster.tls_server_name,
        make_proxy(proxy) if proxy else None,
    )


def in_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Return the cluster that this process is a pod of, None where it is no pod; raise OSError."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        return None
    return Cluster(
        f"https://{f'[{host}]' if ':' in host else host}:{port}",
        authority=ACCOUNT_FILES.joinpath("ca.crt").read_bytes(),
        token_file=ACCOUNT_FILES / "token",
    )


class TokenFile:
    """The token in a file, read again now and then; one that cannot be read stays what it was."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at = float("-inf")

    def __call__(self) -> str:
        """Return the token; raise OSError where there has never been one."""
        if self._clock() - self._read_at >= TOKEN_SECONDS:
            try:
                self._token = self._path.read_text().strip()
            except OSError:
                if not self._token:
                    raise
            self._read_at = self._clock()
        return self._token


def load_kubeconfig(path: str | Path, context: str = "") -> Cluster:
    """Read one context, the current one where none is named; raise BadRequest, OSError."""
    import yaml

    path = Path(path)
    try:
        config = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise BadRequest(f"{path}{where}: is not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(config, dict):
        raise BadRequest(f"{path}: is not a kubeconfig")
    chosen = context or config.get("current-context") or ""
    if not chosen:
        raise BadRequest(f"{path}: current-context: is not set; name a context")
    parts = _named(path, config, "contexts", chosen, "context")
    cluster = _named(path, config, "clusters", parts.get("cluster", ""), "cluster")
    user = _named(path, config, "users", parts["user"], "user") if parts.get("user") else {}
    for name, why in REFUSED.items():
        if user.get(name):
            raise BadRequest(f"{path}: users[{parts['user']}].{name}: {why}")
    if not cluster.get("server"):
        raise BadRequest(f"{path}: clusters[{parts['cluster']}].server: is not set")
    return Cluster(
        server=cluster["server"].rstrip("/"),
        namespace=parts.get("namespace") or "default",
        authority=_bytes_of(path, cluster, "certificate-authority"),
        certificate=_bytes_of(path, user, "client-certificate"),
        key=_bytes_of(path, user, "client-key"),
        token=str(user.get("token") or ""),
        tls_server_name=cluster.get("tls-server-name") or "",
        skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
        token_file=path.parent / user["tokenFile"] if user.get("tokenFile") else None,
        proxy=cluster.get("proxy-url") or "",
    )


def make_ssl_context(cluster: Cluster) -> ssl.SSLContext | None:
    """Return the TLS settings that the cluster needs; None for plain HTTP."""
    if not cluster.is_tls:
        return None
    made = ssl.create_default_context(cadata=cluster.authority.decode() if cluster.authority else None)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the default of Python 3.13 refuses what Go's clients take
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
