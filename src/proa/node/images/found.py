"""Describe an image to the runtime: what its configuration says, and where its layers are.

Pure but for the layers' folders. Follows image-spec (config.md) and containerd's internal/cri (container_create.go).
"""

from __future__ import annotations

from typing import Any

from proa.images.errors import InvalidImage
from proa.images.reference import Reference
from proa.images.store import ImageStore, StoredImage
from proa.node.runtimes.protocol import Image

MAX_NAMES = 5
"""As many names of an image as a Node's status has (pkg/kubelet/nodestatus: MaxNamesPerImageInNodeStatus)."""


def make_image(store: ImageStore, stored: StoredImage, wanted: Reference | None = None) -> Image:
    """Return the image as the runtime wants it, by the name that was wanted; raise ImageNotFound, InvalidImage."""
    config = stored.config.get("config") or {}
    if not isinstance(config, dict):
        raise InvalidImage("the image's configuration has no config")
    return Image(
        name=_name(stored, wanted),
        repo_digest=_repo_digest(stored, wanted),
        size_bytes=stored.size,
        entrypoint=_strings(config, "Entrypoint"),
        command=_strings(config, "Cmd"),
        env=tuple(_variable(text) for text in _strings(config, "Env")),
        working_dir=str(config.get("WorkingDir") or ""),
        user=str(config.get("User") or ""),
        id=stored.id,
        stop_signal=str(config.get("StopSignal") or ""),
        volumes=tuple(sorted(_mapping(config, "Volumes"))),
        layers=tuple(str(store.layers.path(layer.diff_id)) for layer in stored.layers),
    )


def status_names(stored: StoredImage) -> list[str]:
    """Return the names that a Node's status has for an image."""
    return [*stored.repo_digests, *stored.tags][:MAX_NAMES]


def _name(stored: StoredImage, wanted: Reference | None) -> str:
    if wanted is not None and wanted.tagged in stored.tags:
        return wanted.tagged
    return next(iter((*stored.tags, *stored.repo_digests)), stored.id)


def _repo_digest(stored: StoredImage, wanted: Reference | None) -> str:
    """Return the digest under which the repository that was asked has the image; its own id where none has."""
    mine = [d for d in stored.repo_digests if wanted is not None and d.startswith(f"{wanted.name}@")]
    exact = [d for d in mine if wanted is not None and wanted.digest and d.endswith(wanted.digest)]
    return next(iter((*exact, *mine, *stored.repo_digests)), stored.id)


def _strings(config: dict[str, Any], key: str) -> tuple[str, ...]:
    value = config.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidImage(f"the image's configuration has a {key} that is no list of strings")
    return tuple(value)


def _mapping(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise InvalidImage(f"the image's configuration has {key} that are no mapping")
    return value


def _variable(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
