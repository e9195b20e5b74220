"""Read what registries and archives say of images: manifests, indexes by platform, configurations.

Pure. Everything comes from outside, so every shape is checked. Follows image-spec (manifest.md, image-index.md,
config.md) and Docker's image manifest v2, schema 2.
"""

from __future__ import annotations

import json
import os
from typing import Any

from proa.images.digests import hex_of
from proa.images.errors import InvalidImage, TooLarge
from proa.images.media_types import CONFIGS, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, is_layer
from proa.objects.quick_dataclass import dataclass

_BOTH = "it could be read as a manifest and as an index"
"""What one reader takes for this and another for that is refused (CVE-2021-41190)."""
MAX_LAYERS = 500
"""overlayfs has no more lower layers (fs/overlayfs/params.h: OVL_MAX_STACK)."""

_ARCHITECTURES = {
    "x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
    "riscv64": ("riscv64", ""), "ppc64le": ("ppc64le", ""), "s390x": ("s390x", ""), "i686": ("386", ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob that a document refers to."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform: its configuration and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def media_type_of(document: dict[str, Any], told: str = "") -> str:
    """Return what a manifest or an index says that it is, else what its server says, else what it looks like."""
    found = document.get("mediaType") or told
    if not found:
        return OCI_INDEX if "manifests" in document else OCI_MANIFEST
    return str(found)


def read_document(data: bytes) -> dict[str, Any]:
    """Return a JSON object; raise InvalidImage."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidImage(f"what should be JSON is not: {error}") from error
    if not isinstance(document, dict):
        raise InvalidImage("what should be a JSON object is not")
    return document


def read_manifest(document: dict[str, Any]) -> Manifest:
    """Return a manifest of an image that can run; raise InvalidImage."""
    if document.get("schemaVersion") != 2:
        raise InvalidImage("the manifest is of schema 1, which registries have given up: push the image anew")
    if "manifests" in document:
        raise InvalidImage(_BOTH)
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise InvalidImage("the manifest has no layers")
    if len(layers) > MAX_LAYERS:
        raise TooLarge(
            f"the image has {len(layers)} layers; {MAX_LAYERS} is what the kernel can lay on each other"
        )
    config = read_descriptor(document.get("config"))
    if config.media_type not in CONFIGS:
        raise InvalidImage(f"this is no image of a container but {config.media_type}")
    found = tuple(read_descriptor(layer) for layer in layers)
    for layer in found:
        if not is_layer(layer.media_type):
            raise InvalidImage(f"layers of type {layer.media_type} are not supported")
    return Manifest(config, found)


def read_descriptor(value: Any) -> Descriptor:
    """Return a descriptor; raise InvalidImage."""
    if not isinstance(value, dict):
        raise InvalidImage("the manifest lacks a descriptor")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidImage(f"a descriptor has size {size!r}")
    digest = value.get("digest", "")
    hex_of(digest)
    return Descriptor(str(value.get("mediaType", "")), digest, size)


def read_index(document: dict[str, Any]) -> list[Any]:
    """Return the entries of an index; raise InvalidImage."""
    entries = document.get("manifests")
    if not isinstance(entries, list):
        raise InvalidImage("the index has no manifests")
    if "layers" in document or "config" in document:
        raise InvalidImage(_BOTH)
    return entries


def choose(document: dict[str, Any], platform: str = "") -> Descriptor:
    """Return the manifest in an index that fits a platform (this machine's); raise InvalidImage without any."""
    wanted = platform or this_platform()
    entries = read_index(document)
    seen: list[str] = []
    best: tuple[int, dict[str, Any]] | None = None
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("mediaType") not in (*MANIFESTS, *INDEXES):
            continue
        found = _platform(entry)
        seen += [found] if found else []
        rank = _rank(found, wanted)
        if rank >= 0 and (best is None or rank > best[0]):
            best = (rank, entry)
    if best is None:
        offered = ", ".join(dict.fromkeys(seen)) or "none"
        raise InvalidImage(
            f"no match for platform in manifest: {wanted} is not among those it has ({offered})"
        )
    return read_descriptor(best[1])


def this_platform() -> str:
    """Return this machine's platform, `linux/amd64`."""
    name = os.uname().machine
    architecture, variant = _ARCHITECTURES.get(name, (name, ""))
    return f"linux/{architecture}" + (f"/{variant}" if variant else "")


def _platform(entry: dict[str, Any]) -> str:
    found = entry.get("platform")
    if not isinstance(found, dict):
        return ""
    parts = [str(found.get(key, "")) for key in ("os", "architecture", "variant")]
    return "/".join(parts).rstrip("/")


def _rank(found: str, wanted: str) -> int:
    """Return how well a platform fits: -1 not at all. An entry without platform fits if nothing else does."""
    if not found:
        return 0
    system, _, rest = found.partition("/")
    architecture, _, variant = rest.partition("/")
    wanted_system, _, wanted_rest = wanted.partition("/")
    wanted_architecture, _, wanted_variant = wanted_rest.partition("/")
    if (system, architecture) != (wanted_system, wanted_architecture):
        return -1
    if not variant or not wanted_variant:
        return 2
    if variant == wanted_variant:
        return 3
    return 1 if architecture == "arm" and variant < wanted_variant else -1


def read_diff_ids(config: dict[str, Any], manifest: Manifest) -> tuple[str, ...]:
    """Return the layers' diff_ids, the lowest first; raise InvalidImage when there are not as many as layers."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or len(found) != len(manifest.layers):
        raise InvalidImage("the image's configuration does not have a diff_id for each layer")
    for diff_id in found:
        hex_of(diff_id)
    return tuple(found)
