"""Keep images once for everybody on this machine: names, manifests, configurations, blobs and unpacked layers.

The folder (`$PROA_HOME/images`, for its owner alone) is an OCI image layout, with the layers unpacked beside it:

    index.json                names (names.py)
    blobs/sha256/<hex>        manifests, configurations, compressed layers (blobs.py)
    layers/<hex>/fs           unpacked layers by diff_id (layers.py)
    incoming/ locks/ leases/  what is on its way, who works at what, and that somebody works (locks.py)
    pins/<who>                images that containers use, as their node says

Every method may be called from several threads and processes at once. Who makes something holds a `lease`: what is
made, or asked for, during it is not collected. All raise ImageError.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from proa.images import locks
from proa.images.blobs import Blobs, copy
from proa.images.digests import is_digest
from proa.images.errors import ImageNotFound, InvalidImage, InvalidReference
from proa.images.layers import MAX_LAYER_BYTES, Layer, Layers
from proa.images.manifests import (
    Descriptor,
    Manifest,
    choose,
    media_type_of,
    read_diff_ids,
    read_document,
    read_manifest,
)
from proa.images.media_types import INDEXES, MANIFESTS, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from proa.images.names import NameIndex
from proa.images.reference import parse
from proa.images.workers import Workers
from proa.objects.quick_dataclass import dataclass

_MIN_ID_CHARACTERS = 4
_NO_NAME = "<none>@"
"""Begins the name of an image that has none."""
_MAX_NESTED_INDEXES = 4


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is here.

    `id` is the digest of its configuration, `target` what its names refer to (a manifest or an index of several
    platforms), `manifest` that of this platform. `tags` and `repo_digests` are its names; `size` is in bytes, of its
    manifest, configuration and compressed layers. `layers` are the lowest first.
    """

    id: str
    target: Descriptor
    manifest: Descriptor
    tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    config: Mapping[str, Any]
    layers: tuple[Layer, ...]
    size: int


class ImageStore:
    """The images below one folder; it is made, for its owner alone, when it is not there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.incoming = directory / "incoming"
        self._leases = directory / "leases"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in ("blobs/sha256", "layers", "incoming", "locks", "leases", "pins"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        layout = directory / "oci-layout"
        if not layout.exists():
            layout.write_text('{"imageLayoutVersion": "1.0.0"}')
        self.blobs = Blobs(directory, self.incoming)
        self.layers = Layers(directory, self.incoming, self.blobs)
        self.names = NameIndex(directory)
        self._known: dict[str, tuple[Descriptor, Manifest, dict[str, Any], tuple[Layer, ...]]] = {}

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Keep from being collected what is made or asked for from now on; it ends with the context, or the process."""
        with locks.lease(self._leases):
            yield

    def workers(self) -> Workers:
        """Return worker processes, to be used as a context around what makes layers."""
        return Workers(self.incoming)

    # Looking

    def resolve(self, name: str) -> StoredImage | None:
        """Return the image by a name as people write it, a digest, or an id or the beginning of one; None without."""
        names = self.names.all()
        with contextlib.suppress(InvalidReference):
            wanted = parse(name)
            target = names.get(wanted.at(wanted.digest) if wanted.digest else str(wanted))
            if target is not None:
                return self.image(target)
        return self._by_id(name)

    def images(self) -> list[StoredImage]:
        """Return every image, in the order of their names."""
        targets = {target.digest: target for target in self.names.all().values()}
        found: dict[str, StoredImage] = {}
        names = self._names_by_id()
        for target in targets.values():
            with contextlib.suppress(ImageNotFound):
                image = self._image(target, names)
                found.setdefault(image.id, image)
        return sorted(found.values(), key=lambda image: (*image.tags[:1], *image.repo_digests[:1], image.id))

    def _by_id(self, text: str) -> StoredImage | None:
        digits = text.removeprefix("sha256:")
        if len(digits) < _MIN_ID_CHARACTERS or digits.strip("0123456789abcdef"):
            return None
        found = [
            image
            for image in self.images()
            if any(
                digest.removeprefix("sha256:").startswith(digits)
                for digest in (image.id, image.target.digest, image.manifest.digest)
            )
        ]
        return found[0] if len(found) == 1 else None

    def image(self, target: Descriptor) -> StoredImage:
        """Return the image that a manifest or index leads to; raise ImageNotFound."""
        return self._image(target, self._names_by_id())

    def _names_by_id(self) -> dict[str, list[str]]:
        """Return all names of each image."""
        found: dict[str, list[str]] = {}
        for name, target in self.names.all().items():
            with contextlib.suppress(ImageNotFound):
                found.setdefault(self._documents(target)[1].config.digest, []).append(name)
        return found

    def _image(self, target: Descriptor, names: Mapping[str, list[str]]) -> StoredImage:
        manifest, parsed, config, layers = self._documents(target)
        mine = names.get(parsed.config.digest, [])
        return StoredImage(
            id=parsed.config.digest,
            target=target,
            manifest=manifest,
            tags=tuple(sorted(name for name in mine if "@" not in name)),
            repo_digests=tuple(
                sorted(name for name in mine if "@" in name and not name.startswith(_NO_NAME))
            ),
            config=config,
            layers=layers,
            size=manifest.size + parsed.config.size + sum(layer.size for layer in parsed.layers),
        )

    def _documents(
        self, target: Descriptor
    ) -> tuple[Descriptor, Manifest, dict[str, Any], tuple[Layer, ...]]:
        """Return what a target leads to; content is named by its digest, so it is read once."""
        known = self._known.get(target.digest)
        if known is None:
            known = self._known[target.digest] = self._read_documents(target)
        return known

    def _read_documents(
        self, target: Descriptor
    ) -> tuple[Descriptor, Manifest, dict[str, Any], tuple[Layer, ...]]:
        descriptor, data = target, self.blobs.read(target.digest)
        for _ in range(_MAX_NESTED_INDEXES):
            document = read_document(data)
            if media_type_of(document, descriptor.media_type) not in INDEXES:
                break
            descriptor = choose(document)
            data = self.blobs.read(descriptor.digest)
        manifest = read_manifest(document)
        config = read_document(self.blobs.read(manifest.config.digest))
        diff_ids = read_diff_ids(config, manifest)
        layers = tuple(
            Layer(diff_id, layer.digest, layer.size, layer.media_type)
            for diff_id, layer in zip(diff_ids, manifest.layers, strict=True)
        )
        return Descriptor(descriptor.media_type, descriptor.digest, len(data)), manifest, config, layers

    # Making

    def add_layer(
        self, source: BinaryIO | Path, *, gzip: bool = True, workers: Workers | None = None
    ) -> Layer:
        """Make a layer of a tar archive (plain, gzip or zstd), or of a folder, which is taken: it is moved away.

        The archive is kept as it comes; a folder's blob is compressed where `gzip` says so. Hold a lease.
        """
        with contextlib.ExitStack() as stack:
            used = workers or stack.enter_context(self.workers())
            if isinstance(source, Path):
                return self.layers.add_directory(used, source, gzip=gzip)
            with self.blobs.writer() as writer:
                copy(source, writer, MAX_LAYER_BYTES)
                digest = writer.commit()
            return self.layers.add_archive(used, digest, self.layer_type(digest))

    def layer_type(self, digest: str) -> str:
        """Return the media type of a blob that is a layer's archive, by how it is compressed."""
        with self.blobs.open(digest) as file:
            magic = file.read(4)
        if magic.startswith(b"\x1f\x8b"):
            return OCI_LAYER + "+gzip"
        return OCI_LAYER + ("+zstd" if magic == b"\x28\xb5\x2f\xfd" else "")

    def commit(
        self,
        config: Mapping[str, Any],
        layers: Sequence[Layer],
        names: Sequence[str] = (),
        annotations: Mapping[str, str] | None = None,
    ) -> StoredImage:
        """Make an image of layers (the lowest first) and an OCI configuration, whose rootfs is filled in, and tag it.

        Without names it is found by its digest only as long as the lease is held. Hold a lease.
        """
        rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
        target = self.make_manifest(
            self.blobs.add(_encode({**config, "rootfs": rootfs})), layers, annotations
        )
        for name in names:
            self.tag(name, target)
        return self.image(target)

    def make_manifest(
        self, config: str, layers: Sequence[Layer], annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Make the manifest of a configuration that is a blob here, and keep it."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config, "size": self.blobs.size(config)},
            "layers": [
                {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
            **({"annotations": dict(annotations)} if annotations else {}),
        }
        return self.add_manifest(_encode(manifest), OCI_MANIFEST)

    def add_manifest(self, data: bytes, media_type: str = "") -> Descriptor:
        """Keep a manifest or an index, byte for byte; return its descriptor."""
        document = read_document(data)
        found = media_type_of(document, media_type)
        if found not in (*MANIFESTS, *INDEXES):
            raise InvalidImage(f"{found} is neither a manifest nor an index of images")
        if found in MANIFESTS:
            read_manifest(document)
        return Descriptor(found, self.blobs.add(data), len(data))

    def tag(self, name: str, target: Descriptor) -> None:
        """Let a name mean an image; what it meant before keeps its other names and its repo digest."""
        wanted = parse(name)
        digest_name = wanted.at(target.digest)

        def edit(names: dict[str, Descriptor]) -> None:
            if wanted.tag:
                names[wanted.tagged] = target
            names[digest_name] = target

        if not self.blobs.has(target.digest):
            raise ImageNotFound(f"{target.digest} is not here and cannot be tagged")
        self.names.change(edit)

    def keep(self, target: Descriptor) -> None:
        """Keep an image that has no name: it is found by its id, and goes with the next prune."""
        self.names.change(lambda names: names.update({f"{_NO_NAME}{target.digest}": target}))

    def untag(self, name: str) -> StoredImage | None:
        """Take one name from its image; without any left it is collected. Return what it meant, None without such."""
        found = self.resolve(name)
        if found is None:
            return None
        if is_digest(name) or not (names := self._names_meant(name, found)):
            names = {*found.tags, *found.repo_digests, f"{_NO_NAME}{found.target.digest}"}

        def edit(index: dict[str, Descriptor]) -> None:
            for one in names:
                index.pop(one, None)

        self.names.change(edit)
        return found

    def names_without(self, name: str, image: StoredImage) -> set[str]:
        """Return the tags that an image keeps when a name is taken from it."""
        gone = self._names_meant(name, image)
        return {*image.tags} - gone if gone else set()

    def _names_meant(self, name: str, image: StoredImage) -> set[str]:
        """Return the names that go with a name: a repository's last tag takes its digest along."""
        with contextlib.suppress(InvalidReference):
            wanted = parse(name)
            full = wanted.at(wanted.digest) if wanted.digest else str(wanted)
            if full not in (*image.tags, *image.repo_digests):
                return set()
            others = [tag for tag in image.tags if tag != full and parse(tag).name == wanted.name]
            digests = [d for d in image.repo_digests if d.startswith(f"{wanted.name}@")]
            return {full, *(() if others else digests)}
        return set()

    # Who uses what

    def pin(self, who: str, image_ids: frozenset[str]) -> None:
        """Say which images (by id) somebody's containers use, in place of what they said before."""
        path = self.directory / "pins" / who
        temporary = path.with_name(f".{who}.new")
        temporary.write_text(json.dumps(sorted(image_ids)))
        temporary.replace(path)

    def pinned(self) -> frozenset[str]:
        """Return the ids of the images that anybody's containers use."""
        found: set[str] = set()
        for path in (self.directory / "pins").iterdir():
            if not path.name.startswith("."):
                found |= set(json.loads(path.read_text()))
        return frozenset(found)

    def oldest_lease(self) -> float | None:
        """Return when the oldest lease that is held began, None when none is."""
        return locks.oldest_lease(self._leases)


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
