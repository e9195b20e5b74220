"""Bring an image from its registry into the store: the manifest for this platform, then its layers, several at once.

What is here already is not asked for again. Layers come three at a time (containerd's max_concurrent_downloads) and
are unpacked while others still come. The name is given last, so an image that has a name is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from urllib.parse import urlsplit

from proa.images.credentials import Credential, find
from proa.images.digests import hex_of
from proa.images.errors import Cancelled, ImageError, ImageNotFound, InvalidImage, Unauthorized
from proa.images.layers import Layer
from proa.images.locks import try_lock
from proa.images.manifests import (
    Descriptor,
    choose,
    media_type_of,
    read_diff_ids,
    read_document,
    read_manifest,
)
from proa.images.media_types import INDEXES
from proa.images.reference import LOCAL_REGISTRY, Reference
from proa.images.registries import Endpoint, Registries
from proa.images.registry import Registry
from proa.images.store import ImageStore, StoredImage
from proa.images.transport import Stop, Transport
from proa.images.workers import Workers
from proa.objects.quick_dataclass import dataclass

DOWNLOADS_AT_ONCE = 3
UNPACKED_AT_ONCE = 2
_MAX_NESTED_INDEXES = 4
_LOCK_RETRY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """How far a layer is: bytes of `total`, and what is done with it."""

    digest: str
    state: str
    """waiting, downloading, unpacking, done"""
    current: int
    total: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image that was pulled, and the credential that was needed for it (None: anybody may)."""

    image: StoredImage
    credential: Credential | None


Watch = Callable[[LayerProgress], None]


def pull(
    store: ImageStore,
    registries: Registries,
    reference: Reference,
    credentials: Sequence[Credential] = (),
    *,
    stop: Stop | None = None,
    watch: Watch | None = None,
    platform: str = "",
) -> Pulled:
    """Pull an image by whichever of the credentials works; raise ImageError with every reason on the way.

    Blocking: call it in a thread; `stop.set()` from another one calls it off.
    """
    if reference.registry == LOCAL_REGISTRY:
        return Pulled(_find_local(store, reference), None)
    stop = stop or Stop()
    fitting = find([*credentials, *registries.credentials()], reference)
    failure: ImageError | None = None
    with store.lease():
        users: list[Credential | None] = [*fitting] or [None]
        for credential in users:
            try:
                image = _Pull(store, registries, reference, credential, stop, watch, platform).run()
            except (Unauthorized, ImageNotFound) as error:
                failure = error
                continue
            return Pulled(image, credential)
    assert failure is not None
    raise failure


def _find_local(store: ImageStore, reference: Reference) -> StoredImage:
    """Return an image of the cluster's own registry, which is this store."""
    image = store.resolve(str(reference))
    if image is None:
        raise ImageNotFound(
            f"{reference}: not found: nothing was pushed or built by that name (`proa build -t {reference} .`)"
        )
    return image


class _Pull:
    """One pull, as one user."""

    def __init__(
        self,
        store: ImageStore,
        registries: Registries,
        reference: Reference,
        credential: Credential | None,
        stop: Stop,
        watch: Watch | None,
        platform: str,
    ) -> None:
        self._store = store
        self._registries = registries
        self._reference = reference
        self._credential = credential
        self._caller, self._stop = stop, stop.child()
        self._watch = watch or (lambda progress: None)
        self._platform = platform
        self._transport = Transport(registries, self._stop)

    def run(self) -> StoredImage:
        """Ask each endpoint in turn."""
        failure: ImageError | None = None
        for endpoint in self._registries.endpoints(self._reference.registry):
            user = self._user_at(endpoint)
            registry = Registry(endpoint, self._reference.repository, self._transport, user)
            try:
                target, data = self._resolve(registry)
                return self._fetch(registry, target, data)
            except (Cancelled, InvalidImage):
                raise
            except ImageError as error:
                failure = error if failure is None or endpoint.is_mirror is False else failure
        assert failure is not None
        raise failure

    def _user_at(self, endpoint: Endpoint) -> Credential | None:
        """Return who to be there: a mirror is told no password of the registry's, only one that is for itself."""
        host = urlsplit(endpoint.url).netloc
        if host == endpoint.host or not endpoint.is_mirror:
            return self._credential
        known = [one for one in (self._credential, *self._registries.credentials()) if one is not None]
        return next(iter(find(known, Reference(host, self._reference.repository))), None)

    def _resolve(self, registry: Registry) -> tuple[Descriptor, bytes]:
        """Return what the name means now; a manifest that is here already is not downloaded again."""
        wanted = self._reference.digest or self._reference.tag
        try:
            digest = self._reference.digest or registry.find_digest(wanted)
            if digest and self._store.blobs.has(digest):
                data = self._store.blobs.read(digest)
                return Descriptor(media_type_of(read_document(data)), digest, len(data)), data
            return registry.get_manifest(digest or wanted, digest)
        except InvalidImage:
            raise
        except ImageError as error:
            name = str(self._reference)
            words = f'failed to resolve reference "{name}": '
            words += f"{name}: {error}" if isinstance(error, ImageNotFound) else str(error)
            raise self._told(type(error), words) from error

    def _fetch(self, registry: Registry, target: Descriptor, data: bytes) -> StoredImage:
        try:
            stored = self._store.add_manifest(data, target.media_type)
            manifest_data = self._choose(registry, stored, data)
            manifest = read_manifest(read_document(manifest_data))
            config_data = self._config(registry, manifest.config)
            diff_ids = read_diff_ids(read_document(config_data), manifest)
            layers = [
                Layer(diff_id, layer.digest, layer.size, layer.media_type)
                for diff_id, layer in zip(diff_ids, manifest.layers, strict=True)
            ]
            self._get_layers(registry, list(dict.fromkeys(layers)))
        except Cancelled:
            raise
        except ImageError as error:
            raise self._told(type(error), str(error)) from error
        self._store.tag(str(self._reference), stored)
        image = self._store.resolve(self._reference.at(stored.digest))
        assert image is not None
        return image

    def _choose(self, registry: Registry, target: Descriptor, data: bytes) -> bytes:
        """Return the manifest for the platform, which an index leads to."""
        for _ in range(_MAX_NESTED_INDEXES):
            document = read_document(data)
            if media_type_of(document, target.media_type) not in INDEXES:
                return data
            target = choose(document, self._platform)
            if self._store.blobs.has(target.digest):
                data = self._store.blobs.read(target.digest)
                continue
            _, data = registry.get_manifest(target.digest, target.digest)
            if len(data) != target.size:
                raise InvalidImage(
                    f"manifest {target.digest} has {len(data)} bytes, not {target.size} as the index says"
                )
            self._store.add_manifest(data, target.media_type)
        raise InvalidImage("indexes of indexes of indexes lead nowhere")

    def _config(self, registry: Registry, descriptor: Descriptor) -> bytes:
        if self._store.blobs.has(descriptor.digest):
            return self._store.blobs.read(descriptor.digest)
        data = registry.get_document(descriptor)
        self._store.blobs.add(data)
        return data

    def _get_layers(self, registry: Registry, layers: list[Layer]) -> None:
        for layer in layers:
            self._tell(layer, "waiting", 0)
        with (
            self._store.workers() as workers,
            self._caller.calling(workers.kill),  # a failure lets the others end, and clean up
            ThreadPoolExecutor(UNPACKED_AT_ONCE, "unpack") as unpacking,
            ThreadPoolExecutor(DOWNLOADS_AT_ONCE, "pull") as downloading,
        ):
            downloads = {downloading.submit(self._download, registry, layer): layer for layer in layers}
            waiting: set[Future[None]] = {*downloads}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    if future.exception() is not None:
                        self._stop.set()  # cuts the others, which end with it
                        future.result()
                    if future in downloads:
                        waiting.add(unpacking.submit(self._unpack, workers, downloads[future]))

    def _unpack(self, workers: Workers, layer: Layer) -> None:
        self._stop.check()
        if not self._store.layers.has(layer.diff_id):
            self._tell(layer, "unpacking", layer.size)
            self._store.layers.unpack(workers, layer)
        self._tell(layer, "done", layer.size)

    def _download(self, registry: Registry, layer: Layer) -> None:
        """Bring a layer's blob here, alone: what another process has begun is awaited, or gone on with."""
        path = self._store.incoming / f"{hex_of(layer.digest)}.part"
        if self._store.blobs.has(layer.digest):
            return
        with self._alone(layer.digest):
            if self._store.blobs.has(layer.digest):
                return

            def progress(digest: str, current: int, total: int) -> None:
                self._tell(layer, "downloading", current)

            descriptor = Descriptor(layer.media_type, layer.digest, layer.size)
            with registry.download(descriptor, path, progress) as file:
                self._store.blobs.adopt(file, path, layer.digest)

    @contextlib.contextmanager
    def _alone(self, digest: str) -> Iterator[None]:
        path = self._store.directory / "locks" / f"blob-{hex_of(digest)}"
        while True:
            with try_lock(path) as is_ours:
                if is_ours:
                    try:
                        yield
                    finally:
                        path.unlink(missing_ok=True)
                    return
            if self._stop.event.wait(_LOCK_RETRY_SECONDS):
                self._stop.check()

    def _tell(self, layer: Layer, state: str, current: int) -> None:
        self._watch(LayerProgress(layer.digest, state, current, layer.size))

    def _told(self, kind: type[ImageError], words: str) -> ImageError:
        if words.startswith("failed to pull"):
            return kind(words)
        return kind(f'failed to pull and unpack image "{self._reference}": {words}')
