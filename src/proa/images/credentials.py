"""Find who to be at a registry: what Docker's configuration files, and Secrets of their form, say of an image's name.

Several may fit a name; they are tried in turn, that of the longest path first. Follows
k8s.io/kubernetes/pkg/credentialprovider (config.go, keyring.go). Passwords are never shown: not by repr, not in errors.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from proa.images.errors import ImageError
from proa.images.reference import DEFAULT_REGISTRY, Reference
from proa.objects.quick_dataclass import dataclass

DOCKER_CONFIG_JSON = ".dockerconfigjson"
DOCKER_CFG = ".dockercfg"
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


class InvalidCredentials(ImageError):
    """What should hold credentials does not."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A user at a registry. `place` is the part of names it is for; `source` says whose it is ("" is the node's)."""

    place: str
    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"Credential(place={self.place!r}, username={self.username!r}, source={self.source!r})"

    def fingerprint(self) -> str:
        """Return a hash by which the same credential is known again."""
        parts = (self.username, self.password, self.identity_token, self.registry_token)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_docker_config(data: bytes | str, source: str = "") -> list[Credential]:
    """Return the credentials of a config.json, or of the older .dockercfg; raise InvalidCredentials."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidCredentials("the credentials are not JSON") from None
    if not isinstance(document, dict):
        raise InvalidCredentials("the credentials are no JSON object")
    entries = document.get("auths", document)
    if not isinstance(entries, dict):
        raise InvalidCredentials("auths is no JSON object")
    return [
        _read_entry(place, entry, source)
        for place, entry in entries.items()
        if isinstance(entry, dict) and ("auth" in entry or "username" in entry or "identitytoken" in entry)
    ]


def read_secret(secret: Mapping[str, Any]) -> list[Credential]:
    """Return the credentials of a Secret of type dockerconfigjson or dockercfg; other Secrets have none."""
    data = secret.get("data") or {}
    metadata = secret.get("metadata") or {}
    coordinates = [str(metadata.get(key, "")) for key in ("uid", "namespace", "name")]
    for key in (DOCKER_CONFIG_JSON, DOCKER_CFG):
        if secret.get("type") == f"kubernetes.io/{key.removeprefix('.')}" and key in data:
            try:
                decoded = base64.b64decode(data[key])
            except (ValueError, binascii.Error):
                raise InvalidCredentials(f"{key} is not base64") from None
            return read_docker_config(decoded, "/".join(coordinates))
    return []


def find(credentials: Iterable[Credential], reference: Reference) -> list[Credential]:
    """Return those that are for an image, the most special first."""
    fitting = [one for one in credentials if _fits(_place(one.place), reference)]
    return sorted(fitting, key=lambda one: _place(one.place), reverse=True)


def _read_entry(place: str, entry: Mapping[str, Any], source: str) -> Credential:
    username, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"])).decode()
        except (ValueError, binascii.Error):
            raise InvalidCredentials(f"auth of {place} is not base64") from None
        if ":" not in decoded:
            raise InvalidCredentials(f"auth of {place} must be base64 of username:password")
        username, _, password = decoded.strip("\0").partition(":")
    token = str(entry.get("identitytoken", ""))
    return Credential(place, username, password, token, str(entry.get("registrytoken", "")), source)


def _place(key: str) -> str:
    """Return host and path of what a configuration calls a registry: `https://index.docker.io/v1/` has only a host."""
    parts = urlsplit(key if "://" in key else f"https://{key}")
    path = parts.path
    for version in ("/v1", "/v2"):
        if path == version or path.startswith(version + "/"):
            path = path.removeprefix(version)
    return parts.netloc + path.rstrip("/")


def _fits(place: str, reference: Reference) -> bool:
    host, slash, path = place.partition("/")
    if slash and not f"{reference.repository}/".startswith(f"{path}/"):
        return False
    if reference.registry == DEFAULT_REGISTRY and host in _DOCKER_HUB:
        return True
    host, _, port = host.partition(":")
    wanted, _, wanted_port = reference.registry.partition(":")
    parts, wanted_parts = host.split("."), wanted.split(".")
    return (
        port == wanted_port
        and len(parts) == len(wanted_parts)
        and all(fnmatch.fnmatchcase(one, part) for one, part in zip(wanted_parts, parts, strict=True))
    )
