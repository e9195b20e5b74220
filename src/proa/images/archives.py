"""Bring images in from archives, and write them out: what `docker save` makes, and OCI layouts in a tar file.

An archive is read once, from front to back, so it may come by a pipe: each file becomes a blob, and what the index or
the manifest at its end says is then looked up among them. What is written is both an OCI layout and what
`docker load` reads (its manifest.json), as Docker's own since version 25.
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from proa.images.digests import hex_of, is_digest
from proa.images.errors import ImageNotFound, InvalidImage, InvalidReference, TooLarge
from proa.images.layers import MAX_LAYER_BYTES, Layer
from proa.images.manifests import Descriptor, read_descriptor, read_document
from proa.images.media_types import OCI_INDEX
from proa.images.names import REF_NAME
from proa.images.reference import parse
from proa.images.store import ImageStore, StoredImage
from proa.images.tar_stream import TarStream
from proa.images.workers import Workers

CONTAINERD_NAME = "io.containerd.image.name"
_MAX_FILES = 100_000
_PIECE = 1 << 20


def load(store: ImageStore, file: BinaryIO, name: str = "") -> list[StoredImage]:
    """Take every image in an archive (plain, gzip or zstd) into the store, and return them; raise ImageError.

    `name` is one more for the image of an archive that has a single one; another archive is refused.
    """
    with store.lease(), store.workers() as workers:
        files = _read_files(store, file)
        if "index.json" in files:
            found = _load_layout(store, workers, files)
        elif "manifest.json" in files:
            found = _load_docker(store, workers, files)
        else:
            raise InvalidImage(
                "this is neither an OCI layout nor what `docker save` writes: it has no index.json"
            )
        if name and len(found) != 1:
            raise InvalidImage(f"the archive has {len(found)} images, so {name} would name none of them")
        if name:
            store.tag(name, found[0].target)
            found = [image for image in [store.resolve(name)] if image is not None]
        return found


def save(store: ImageStore, names: Sequence[str], file: BinaryIO) -> None:
    """Write images into one archive, under the names that they were asked for by; raise ImageNotFound."""
    entries: list[dict[str, Any]] = []
    docker: list[dict[str, Any]] = []
    wanted: dict[str, None] = {}
    for name in names:
        image = store.resolve(name)
        if image is None:
            raise ImageNotFound(f"there is no image {name}; `proa images` lists those that are here")
        tag = _tag_of(name, image)
        annotations = {CONTAINERD_NAME: tag, REF_NAME: tag.rpartition(":")[2]} if tag else {}
        entry = {
            "mediaType": image.manifest.media_type,
            "digest": image.manifest.digest,
            "size": image.manifest.size,
        }
        entries.append({**entry, **({"annotations": annotations} if tag else {})})
        docker.append(
            {
                "Config": _place(image.id),
                "RepoTags": [parse(tag).familiar] if tag else [],
                "Layers": [_place(layer.digest) for layer in image.layers],
            }
        )
        wanted |= dict.fromkeys([image.manifest.digest, image.id, *(layer.digest for layer in image.layers)])
    with store.lease(), tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for digest in wanted:
            with store.blobs.open(digest) as blob:
                archive.addfile(_entry(_place(digest), store.blobs.size(digest)), blob)
        _add(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
        _add(archive, "index.json", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        _add(archive, "manifest.json", docker)


def _read_files(store: ImageStore, file: BinaryIO) -> dict[str, str]:
    """Keep each of an archive's files as a blob; return their digests by name, links followed."""
    stream = TarStream(file, _MAX_FILES * MAX_LAYER_BYTES)
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()
                if len(files) + len(links) > _MAX_FILES:
                    raise TooLarge(f"the archive has more than {_MAX_FILES} files")
                name = posixpath.normpath(member.name).lstrip("/")
                if member.isreg():
                    files[name] = _keep(store, stream, member, name)
                elif member.issym() or member.islnk():
                    base = posixpath.dirname(name) if member.issym() else ""
                    links[name] = posixpath.normpath(posixpath.join(base, member.linkname))
    except tarfile.TarError as error:
        raise InvalidImage(f"this is no tar archive that can be read: {error}") from error
    return {**files, **{name: files[target] for name, target in links.items() if target in files}}


def _keep(store: ImageStore, stream: TarStream, member: tarfile.TarInfo, name: str) -> str:
    if member.size > MAX_LAYER_BYTES:
        raise TooLarge(f"{name!r} has {member.size} bytes")
    stream.seek(member.offset_data)
    folder, _, last = name.rpartition("/")
    expected = f"sha256:{last}" if folder == "blobs/sha256" else ""
    if expected and not is_digest(expected):
        raise InvalidImage(f"{name!r} is no blob's name")
    with store.blobs.writer() as writer:
        left = member.size
        while left:
            piece = stream.read(min(_PIECE, left))
            if not piece:
                raise InvalidImage(f"the archive ends in the middle of {name!r}")
            writer.write(piece)
            left -= len(piece)
        return writer.commit(expected)


def _load_layout(store: ImageStore, workers: Workers, files: Mapping[str, str]) -> list[StoredImage]:
    index = read_document(store.blobs.read(files["index.json"]))
    entries = index.get("manifests")
    if not isinstance(entries, list) or not entries:
        raise InvalidImage("the layout's index.json has no manifests")
    docker_names = _docker_names(store, files)
    found: dict[str, StoredImage] = {}
    for entry in entries:
        target = read_descriptor(entry)
        stored = store.add_manifest(store.blobs.read(target.digest), target.media_type)
        image = store.image(stored)
        _unpack(store, workers, image.layers)
        for name in [*_names_of(entry), *docker_names.get(image.id, [])]:
            store.tag(name, stored)
        found[stored.digest] = _keep_image(store, stored, image)
    return [*found.values()]


def _names_of(entry: Mapping[str, Any]) -> list[str]:
    annotations = entry.get("annotations") or {}
    name = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME) or ""
    return [name] if ":" in name or "/" in name else []  # a tag alone names no repository


def _docker_names(store: ImageStore, files: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names that an archive's manifest.json has, by image id."""
    if "manifest.json" not in files:
        return {}
    entries = json.loads(store.blobs.read(files["manifest.json"]))
    return {files.get(entry["Config"], ""): [*(entry.get("RepoTags") or [])] for entry in entries}


def _load_docker(store: ImageStore, workers: Workers, files: Mapping[str, str]) -> list[StoredImage]:
    try:
        entries = json.loads(store.blobs.read(files["manifest.json"]))
        wanted = [(e["Config"], [*e["Layers"]], [*(e.get("RepoTags") or [])]) for e in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidImage(f"the archive's manifest.json makes no sense: {error}") from error
    found = []
    for config, layers, names in wanted:
        for part in (config, *layers):
            if part not in files:
                raise InvalidImage(f"the archive lacks {part!r}")
        document = read_document(store.blobs.read(files[config]))
        made = [
            store.layers.add_archive(workers, files[layer], store.layer_type(files[layer]))
            for layer in layers
        ]
        if [layer.diff_id for layer in made] != ((document.get("rootfs") or {}).get("diff_ids") or []):
            raise InvalidImage("the archive's layers are not those that its image's configuration names")
        stored = store.make_manifest(files[config], made)
        for name in names:
            store.tag(name, stored)
        found.append(_keep_image(store, stored, store.image(stored)))
    return found


def _keep_image(store: ImageStore, target: Descriptor, image: StoredImage) -> StoredImage:
    """Give an image that came without any name one by its digest, under which it stays until it is pruned."""
    current = store.image(target)
    if not current.tags and not current.repo_digests:
        store.keep(target)
    return store.image(target)


def _unpack(store: ImageStore, workers: Workers, layers: Sequence[Layer]) -> None:
    for layer in layers:
        if not store.blobs.has(layer.digest):
            raise InvalidImage(f"the archive lacks layer {layer.digest}")
        store.layers.unpack(workers, layer)


def _tag_of(name: str, image: StoredImage) -> str:
    if name in image.tags:
        return name
    try:
        wanted = str(parse(name))
    except InvalidReference:
        return ""
    return wanted if wanted in image.tags else ""


def _place(digest: str) -> str:
    return f"blobs/sha256/{hex_of(digest)}"


def _entry(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def _add(archive: tarfile.TarFile, name: str, document: Any) -> None:
    data = json.dumps(document).encode()
    archive.addfile(_entry(name, len(data)), io.BytesIO(data))
