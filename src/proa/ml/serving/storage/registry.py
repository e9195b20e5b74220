"""oci://REGISTRY/NAME[:TAG][@DIGEST]: what is below /models in an image's layers, or an artifact's own files.

Of an index the image for this machine is taken. Layers are verified by their digests, which also say whether they are
here. A registry is asked by https; by http on loopback, and where KSERVE_OCI_INSECURE_REGISTRY says so.

Source: the OCI distribution and image specifications; KServe's python/storage (_download_oci); ORAS' titles of files.
"""

from __future__ import annotations

import base64
import json
import platform
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from proa.ml.serving.storage.pieces import Model, Opened, Piece, StorageError, Surroundings
from proa.ml.serving.storage.web import Refused, Web, basic

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
TITLE = "org.opencontainers.image.title"
DOCKER_CONFIG = "/mnt/oci-fetch-auth/config.json"
_REFERENCE = re.compile(
    r"([^/]+)/([a-z0-9][a-z0-9._/-]*)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?"
)
_LAYER = re.compile(r"(layer|rootfs\.diff)\S*tar")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
MAX_LAYERS = 256


class Reference(NamedTuple):
    """An image in a registry."""

    registry: str
    name: str
    tag: str

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.registry}/{self.name}{'@' if ':' in self.tag else ':'}{self.tag}"


def find(uri: str, around: Surroundings) -> Model:
    """Return an image's layers, or an artifact's files."""
    wanted = _parse(uri)
    registry = _Registry(wanted, around.env)
    try:
        digest, manifest = registry.manifest(wanted.tag)
        if _kind(manifest) in INDEXES:
            digest, manifest = registry.manifest(_for_this_machine(manifest, wanted))
    except Refused as error:
        raise StorageError(_explained(error, wanted, registry.has_credentials)) from None
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise StorageError(f"{wanted} is no image of at most {MAX_LAYERS} layers")
    resolved = f"oci://{wanted.registry}/{wanted.name}@{digest}"
    titled = [one for one in layers if (one.get("annotations") or {}).get(TITLE)]
    if titled:
        return Model([registry.file(one) for one in titled], resolved)
    return Model(
        [registry.layer(one) for one in layers if _LAYER.search(one.get("mediaType", ""))],
        resolved,
        layers=True,
    )


def _parse(uri: str) -> Reference:
    text = re.sub(r"^oci(\+\w+)?://", "", uri)
    if "." not in (first := text.split("/")[0]) and ":" not in first and first != "localhost":
        text = f"docker.io/{text}" if "/" in text else f"docker.io/library/{text}"
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise StorageError(f"Invalid OCI URI; expected 'oci://<registry>/<repo>[:tag|@digest]', got '{uri}'")
    registry = "registry-1.docker.io" if found[1] == "docker.io" else found[1]
    return Reference(registry, found[2], found[4] or found[3] or "latest")


class _Registry:
    """One repository of a registry, as whom the docker configuration says, else as anybody."""

    def __init__(self, wanted: Reference, env: Mapping[str, str]) -> None:
        insecure = env.get("KSERVE_OCI_INSECURE_REGISTRY", "").lower() in ("1", "true", "yes")
        host = wanted.registry.rpartition(":")[0] or wanted.registry
        scheme = "http" if insecure or host in ("localhost", "127.0.0.1", "[::1]") else "https"
        self._base = f"{scheme}://{wanted.registry}/v2/{wanted.name}"
        self._web = Web(env, verify=not insecure)
        self._name = wanted.name
        self._credentials = _credentials(wanted.registry, env)
        self._headers = {"Authorization": basic(*self._credentials)} if self._credentials else {}
        self.has_credentials = self._credentials is not None

    def manifest(self, tag: str) -> tuple[str, Mapping[str, Any]]:
        """Return a manifest and its digest; raise Refused, StorageError."""
        import hashlib

        url, accept = f"{self._base}/manifests/{tag}", {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
        try:
            body = self._web.get(url, {**accept, **self._headers}).read()
        except Refused as error:
            if error.status != 401 or not self._get_token(error.challenge):
                raise
            body = self._web.get(url, {**accept, **self._headers}).read()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if tag.startswith("sha256:") and tag != digest:
            raise StorageError(f"{self._name}: the registry's manifest is {digest}, not {tag}")
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise StorageError(f"{self._name}: the registry's manifest is no JSON object")
        return digest, found

    def layer(self, about: Mapping[str, Any]) -> Piece:
        """Return a layer, of which what is below models/ counts."""
        return self._blob(about, "layer")._replace(unpack="tar", below="models")

    def file(self, about: Mapping[str, Any]) -> Piece:
        """Return an artifact's file by its title."""
        path = str(about["annotations"][TITLE])
        if path.startswith("/") or ".." in path.split("/"):
            raise StorageError(
                f"{self._name}: a file's title is {path!r}, which leads out of the model's folder"
            )
        unpacks = str(about["annotations"].get("io.deis.oras.content.unpack", "")).lower() == "true"
        return self._blob(about, path)._replace(unpack="tar" if unpacks else "")

    def _blob(self, about: Mapping[str, Any], path: str) -> Piece:
        digest = str(about.get("digest", ""))
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise StorageError(f"{self._name}: a layer's digest is {digest[:80]!r}, not a SHA-256")
        url = f"{self._base}/blobs/{digest}"
        size = int(about.get("size") or 0) or None

        def open_at(offset: int) -> Opened:
            try:
                return self._web.stream(url, self._headers, offset=offset)
            except Refused as error:
                if error.status != 401 or not self._get_token(error.challenge):  # a token lasts some minutes
                    raise
                return self._web.stream(url, self._headers, offset=offset)

        return Piece(path, size, f"oci\n{digest}", open_at, sha256=digest[7:])

    def _get_token(self, asked: str) -> bool:
        """Ask whom the registry names for a token; return whether there is one."""
        if not asked.lower().startswith("bearer "):
            return False
        said = dict(re.findall(r'(\w+)="([^"]*)"', asked))
        realm = said.get("realm", "")
        if not realm.startswith(("https://", self._base.partition("/v2/")[0])):
            raise StorageError(
                f"{self._name}: the registry sends for a token to {realm[:100]!r}, which is not https"
            )
        query = {"service": said.get("service", ""), "scope": f"repository:{self._name}:pull"}
        headers = {"Authorization": basic(*self._credentials)} if self._credentials else {}
        found = self._web.get_json(f"{realm}?{urllib.parse.urlencode(query)}", headers)
        token = found.get("token") or found.get("access_token") if isinstance(found, dict) else None
        if token:
            self._headers = {"Authorization": f"Bearer {token}"}
        return bool(token)


def _credentials(registry: str, env: Mapping[str, str]) -> tuple[str, str] | None:
    """Return user and password of a registry as Docker's configuration has them."""
    path = Path(env.get("KSERVE_OCI_DOCKER_CONFIG") or DOCKER_CONFIG)
    try:
        auths = json.loads(path.read_bytes())["auths"]
        names = (
            registry,
            f"https://{registry}",
            "https://index.docker.io/v1/" if "docker.io" in registry else registry,
        )
        entry = next(auths[name] for name in names if name in auths)
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return user, password


def _kind(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("mediaType") or (INDEXES[0] if "manifests" in manifest else MANIFESTS[0]))


def _for_this_machine(index: Mapping[str, Any], wanted: Reference) -> str:
    machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    for one in index.get("manifests") or ():
        about = one.get("platform") or {}
        if (about.get("os"), about.get("architecture")) == ("linux", machine):
            return str(one["digest"])
    raise StorageError(f"OCI image index for {wanted} has no manifest for linux/{machine}")


def _explained(error: Refused, wanted: Reference, has_credentials: bool) -> str:
    if error.status in (401, 403):
        help_ = "do its credentials belong to it?" if has_credentials else "it was asked without credentials"
        return f"the registry does not give {wanted} ({error}): {help_}"
    if error.status == 404:
        return f"the registry has no {wanted} ({error})"
    return str(error)
