"""Be the repositories of the cluster's registry: the store's images whose names begin with `proa.local:5000/`.

A blob can be read through a repository only when one of its manifests refers to it, or when it was uploaded or mounted
there a moment ago: knowing a digest is not enough. Other images of the store, pulled ones too, are not to be had here.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from proa.images.digests import is_digest
from proa.images.errors import ImageError, InvalidImage, InvalidReference
from proa.images.manifests import (
    Descriptor,
    media_type_of,
    read_descriptor,
    read_document,
    read_index,
    read_manifest,
)
from proa.images.media_types import INDEXES, MANIFESTS
from proa.images.reference import LOCAL_REGISTRY, Reference, parse
from proa.images.store import ImageStore
from proa.registry.errors import Refused

MAX_MANIFEST_BYTES = 4 << 20
_MAX_RECENT = 10_000
_RECENT_SECONDS = 3600.0


class _Index:
    """The registry's part of the store's names while these are the same: by repository, with what each needs."""

    def __init__(self, names: Mapping[str, Descriptor]) -> None:
        self.names = names
        self.targets: dict[str, dict[str, Descriptor]] = {}
        self.referred: dict[str, set[str]] = {}
        prefix = f"{LOCAL_REGISTRY}/"
        for name, target in names.items():
            if name.startswith(prefix):
                repository = parse(name).repository
                self.targets.setdefault(repository, {})[name] = target


class Repositories:
    """What one store has for its registry. Every method may be called from several threads."""

    def __init__(self, store: ImageStore) -> None:
        self.store = store
        self._recent: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._index = _Index({})

    # Blobs

    def note(self, repository: str, digest: str) -> None:
        """Remember that a blob has just come to a repository."""
        now = time.monotonic()
        with self._lock:
            self._recent.pop((repository, digest), None)
            self._recent[repository, digest] = now
            while (
                len(self._recent) > _MAX_RECENT or now - next(iter(self._recent.values())) > _RECENT_SECONDS
            ):
                del self._recent[next(iter(self._recent))]

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether a blob can be read through a repository."""
        with self._lock:
            is_recent = (repository, digest) in self._recent
        if not is_recent and digest not in self._referred(repository):
            return False
        return self.store.blobs.has(digest)

    def forget_blob(self, repository: str, digest: str) -> None:
        """Take a blob from a repository; raise Refused where a manifest needs it."""
        if not self.has_blob(repository, digest):
            raise Refused("BLOB_UNKNOWN", f"blob {digest} is not in {repository}")
        if digest in self._referred(repository):
            raise Refused("UNSUPPORTED", f"a manifest of {repository} needs {digest}: delete that one")
        with self._lock:
            self._recent.pop((repository, digest), None)

    def _referred(self, repository: str) -> set[str]:
        """Return the digests that a repository's manifests lead to; worked out once for as long as names stay."""
        index = self._current()
        known = index.referred.get(repository)
        if known is None:
            known = index.referred[repository] = self._find_referred(repository)
        return known

    def _find_referred(self, repository: str) -> set[str]:
        found: set[str] = set()
        for target in self._targets(repository).values():
            self._follow(target.digest, found)
        return found

    def _follow(self, digest: str, found: set[str]) -> None:
        if digest in found:
            return
        found.add(digest)
        try:
            document = read_document(self.store.blobs.read(digest))
        except ImageError:
            return
        if media_type_of(document) in INDEXES:
            for entry in document.get("manifests") or []:
                self._follow(str(entry["digest"]), found)
            return
        with contextlib.suppress(ImageError):
            manifest = read_manifest(document)
            found |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}

    # Manifests

    def find_manifest(self, repository: str, reference: str) -> Descriptor:
        """Return what a tag or a digest means in a repository; raise Refused."""
        targets = self._targets(repository)
        if not targets:
            raise Refused("NAME_UNKNOWN", f"repository {repository} is not known to the registry")
        wanted = self._parse(repository, reference)
        name = wanted.at(wanted.digest) if wanted.digest else wanted.tagged
        if name in targets:
            return targets[name]
        for target in targets.values():
            if wanted.digest and (found := self._child(target, wanted.digest)):
                return found
        raise Refused("MANIFEST_UNKNOWN", f"manifest {reference} is not in {repository}")

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> Descriptor:
        """Keep a manifest or index and let a tag (or its digest alone) mean it; raise Refused.

        The layers of an image for this machine are unpacked first: it can run as soon as this returns.
        """
        wanted = self._parse(repository, reference)
        try:
            document = read_document(data)
            kind = media_type_of(document, media_type)
            if kind not in (*MANIFESTS, *INDEXES):
                raise InvalidImage(f"{kind} is not supported: manifests and indexes of images are")
            if media_type and document.get("mediaType") not in (None, media_type):
                raise InvalidImage(f"it says that it is {document['mediaType']}, the request {media_type}")
            needed = self._needed(document, kind)
            for descriptor in needed:
                if not self._is_there(repository, descriptor, kind):
                    words = f"{descriptor.digest} is unknown to {repository}: push it first"
                    raise Refused("MANIFEST_BLOB_UNKNOWN", words)
            with self.store.lease():
                target = self.store.add_manifest(data, kind)
                if wanted.digest and wanted.digest != target.digest:
                    raise Refused(
                        "DIGEST_INVALID", f"the manifest has digest {target.digest}, not {wanted.digest}"
                    )
                if kind in MANIFESTS:
                    self._unpack(target)
                self.store.tag(str(wanted), target)
        except InvalidImage as error:
            raise Refused("MANIFEST_INVALID", str(error)) from error
        return target

    def delete(self, repository: str, reference: str) -> None:
        """Take a tag from its manifest, or all names of a repository from the manifest of a digest."""
        target = self.find_manifest(repository, reference)
        wanted = self._parse(repository, reference)

        def edit(names: dict[str, Descriptor]) -> None:
            gone = [wanted.tagged]
            if wanted.digest:
                gone = [n for n, found in self._targets(repository).items() if found.digest == target.digest]
            for name in gone:
                names.pop(name, None)

        self.store.names.change(edit)

    def _needed(self, document: dict[str, object], kind: str) -> list[Descriptor]:
        if kind in INDEXES:
            return [read_descriptor(entry) for entry in read_index(document)]
        manifest = read_manifest(document)
        return [manifest.config, *manifest.layers]

    def _is_there(self, repository: str, descriptor: Descriptor, kind: str) -> bool:
        if kind not in INDEXES:
            if not self.has_blob(repository, descriptor.digest):
                return False
            if self.store.blobs.size(descriptor.digest) != descriptor.size:
                raise Refused("SIZE_INVALID", f"{descriptor.digest} has another size than {descriptor.size}")
            return True
        try:
            self.find_manifest(repository, descriptor.digest)
        except Refused:
            return False
        return True

    def _unpack(self, target: Descriptor) -> None:
        image = self.store.image(target)
        with self.store.workers() as workers:
            for layer in image.layers:
                self.store.layers.unpack(workers, layer)

    def _child(self, target: Descriptor, digest: str) -> Descriptor | None:
        """Return the manifest of an index with this digest."""
        if target.media_type not in INDEXES:
            return None
        with contextlib.suppress(ImageError):
            document = read_document(self.store.blobs.read(target.digest))
            for entry in document.get("manifests") or []:
                found = read_descriptor(entry)
                if found.digest == digest and self.store.blobs.has(digest):
                    return found
        return None

    # Names

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags in order; raise Refused without such a repository."""
        targets = self._targets(repository)
        if not targets:
            raise Refused("NAME_UNKNOWN", f"repository {repository} is not known to the registry")
        return sorted(name.rpartition(":")[2] for name in targets if "@" not in name)

    def all(self) -> list[str]:
        """Return the names of all repositories, in order."""
        return sorted(self._current().targets)

    def _targets(self, repository: str) -> dict[str, Descriptor]:
        """Return what each whole name of a repository means."""
        return self._current().targets.get(repository, {})

    def _current(self) -> _Index:
        """Return what the store's names are now."""
        names = self.store.names.all()
        index = self._index
        if index.names is not names:
            index = self._index = _Index(names)
        return index

    def _parse(self, repository: str, reference: str) -> Reference:
        separator = "@" if ":" in reference else ":"
        try:
            return parse(f"{LOCAL_REGISTRY}/{repository}{separator}{reference}")
        except InvalidReference as error:
            code = "DIGEST_INVALID" if separator == "@" else "MANIFEST_INVALID"
            raise Refused(code, f"{reference}: {error}") from None


def check_name(repository: str) -> None:
    """Raise Refused where this is no repository's name."""
    try:
        parse(f"{LOCAL_REGISTRY}/{repository}")
    except InvalidReference as error:
        raise Refused("NAME_INVALID", f"{repository}: {error}") from None


def check_digest(digest: str) -> str:
    """Return the digest; raise Refused where it is none that is supported."""
    if not is_digest(digest):
        raise Refused("DIGEST_INVALID", f"{digest!r} is no digest that is supported: sha256:<64 digits>")
    return digest
