"""Say where a registry's images are to be had: mirrors first, then itself; with which certificates, and as whom.

`$PROA_HOME/registries.yaml`, which need not be there, has the form of k3s' file (docs/images.md has an example):

    mirrors:
      docker.io:
        endpoint: ["https://mirror.example:5000"]     # tried in this order, before docker.io itself
      "*":
        endpoint: [...]                               # for every registry without mirrors of its own
    configs:
      "registry.example:5000":
        auth: {username: …, password: …}              # or auth: <base64 of user:password>, or identity_token
        tls: {ca_file: …, cert_file: …, key_file: …, insecure_skip_verify: false}

A registry on loopback may speak plain HTTP, as for Docker; another one does if a mirror's URL says http://.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proa.images.credentials import Credential, read_docker_config
from proa.images.errors import ImageError
from proa.images.reference import DEFAULT_REGISTRY
from proa.objects.quick_dataclass import dataclass

_HUB = "registry-1.docker.io"
_AUTH_KEYS = {"username", "password", "auth", "identity_token"}
_TLS_KEYS = {"ca_file", "cert_file", "key_file", "insecure_skip_verify"}


class InvalidConfiguration(ImageError):
    """registries.yaml says what cannot be understood."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place that has a registry's images: `https://host:port/prefix`.

    `may_be_plain`: where TLS is not spoken there, plain HTTP is. `is_mirror`: it is told which registry is meant.
    """

    url: str
    host: str
    may_be_plain: bool
    is_mirror: bool = False


class Registries:
    """What registries.yaml says; without it, what every registry's name says."""

    def __init__(self, document: Mapping[str, Any] | None = None, folder: Path = Path()) -> None:
        self._folder = folder
        document = _mapping({} if document is None else document, "registries.yaml", {"mirrors", "configs"})
        self._mirrors = {
            name: _endpoints(_mapping(value, f"mirrors.{name}", {"endpoint"}), f"mirrors.{name}.endpoint")
            for name, value in _mapping(document.get("mirrors") or {}, "mirrors").items()
        }
        self._configs = {
            name: _mapping(value or {}, f"configs.{name}", {"auth", "tls"})
            for name, value in _mapping(document.get("configs") or {}, "configs").items()
        }
        self._contexts: dict[str, ssl.SSLContext] = {}
        for name, config in self._configs.items():
            _mapping(config.get("auth") or {}, f"configs.{name}.auth", _AUTH_KEYS)
            _mapping(config.get("tls") or {}, f"configs.{name}.tls", _TLS_KEYS)

    @classmethod
    def read(cls, path: Path) -> Registries:
        """Return what a file says, which need not be there; raise InvalidConfiguration."""
        if not path.exists():
            return cls()
        import yaml

        try:
            document = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(f"{path} is no YAML: {error}") from None
        try:
            return cls(document, path.parent)
        except InvalidConfiguration as error:
            raise InvalidConfiguration(f"{path}: {error}") from None

    def endpoints(self, registry: str) -> list[Endpoint]:
        """Return where a registry's images are to be asked for, in this order."""
        mirrors = self._mirrors.get(registry, self._mirrors.get("*", []))
        found = [Endpoint(url.rstrip("/"), registry, False, True) for url in mirrors]
        host = _HUB if registry == DEFAULT_REGISTRY else registry
        own = Endpoint(f"https://{host}", registry, is_loopback(host) and not self._tls(host))
        return [*found, own]

    def credentials(self) -> list[Credential]:
        """Return the node's own credentials."""
        found: list[Credential] = []
        for name, config in self._configs.items():
            auth = dict(config.get("auth") or {})
            if auth:
                auth["identitytoken"] = auth.pop("identity_token", "")
                found += read_docker_config(_json({"auths": {name: auth}}))
        return found

    def context(self, host: str, *, may_be_plain: bool) -> ssl.SSLContext:
        """Return how to speak TLS with a host; on loopback, where plain HTTP would do too, anybody is believed."""
        key = f"{host} {may_be_plain}"
        if key not in self._contexts:
            self._contexts[key] = self._make_context(host, may_be_plain=may_be_plain)
        return self._contexts[key]

    def _make_context(self, host: str, *, may_be_plain: bool) -> ssl.SSLContext:
        tls = self._tls(host)
        is_believed = bool(tls.get("insecure_skip_verify") or may_be_plain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if is_believed:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_default_certs()
        try:
            if tls.get("ca_file"):
                context.load_verify_locations(self._folder / tls["ca_file"])
            if tls.get("cert_file"):
                context.load_cert_chain(self._folder / tls["cert_file"], self._folder / tls["key_file"])
        except (OSError, KeyError, ssl.SSLError) as error:
            raise InvalidConfiguration(f"configs.{host}.tls: {error}") from None
        return context

    def _tls(self, host: str) -> dict[str, Any]:
        names = (host, DEFAULT_REGISTRY) if host == _HUB else (host,)
        return next((dict(self._configs[n].get("tls") or {}) for n in names if n in self._configs), {})


def is_loopback(host: str) -> bool:
    """Tell whether a registry's host is this machine: localhost, 127.0.0.0/8 or ::1."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _mapping(value: Any, where: str, keys: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidConfiguration(f"{where} must be a mapping")
    unknown = {str(key) for key in value} - keys if keys is not None else set()
    if unknown:
        known = ", ".join(sorted(keys or ()))
        raise InvalidConfiguration(f"{where}: {', '.join(sorted(unknown))} is not known, only {known}")
    return {str(key): item for key, item in value.items()}


def _endpoints(value: Mapping[str, Any], where: str) -> list[str]:
    found = value.get("endpoint")
    if not isinstance(found, list):
        raise InvalidConfiguration(f"{where} must be a list of URLs")
    for url in found:
        if urlsplit(str(url)).scheme not in ("http", "https"):
            raise InvalidConfiguration(f"{where}: {url!r} must begin with https:// or http://")
    return [str(url) for url in found]


def _json(document: Any) -> str:
    import json

    return json.dumps(document)
