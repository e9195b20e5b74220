"""Find a container's image as its pull policy says: on this machine, by an alias, or from its registry.

A pull runs beside the pod's worker, which is woken when it ends; until then `find` says so (`Pulling`). Pulls that
failed back off, for each pod and image. Words, events and order follow pkg/kubelet/images/image_manager.go (1.36).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from proa.client.protocol import Object
from proa.images.credentials import Credential
from proa.images.credentials import find as find_credentials
from proa.images.errors import ImageError, InvalidReference, RegistryUnavailable
from proa.images.reference import Reference, parse
from proa.images.store import ImageStore, StoredImage
from proa.node.backoff import BackOff, next_backoff
from proa.node.images.aliases import HOST_IMAGE, describe_alias, find_alias
from proa.node.images.found import make_image, status_names
from proa.node.images.pull_records import PullRecords
from proa.node.images.puller import Puller
from proa.node.runtimes.protocol import Image, Runtime
from proa.objects.meta import uid
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ImageEvent:
    """An Event to record about the container's image."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class FoundImage:
    """The image that was `wanted`, and what to tell about it."""

    wanted: str
    image: Image
    events: tuple[ImageEvent, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """An image that a pod wants, for a container or its volume (`what`). Without policy: only if it is not here."""

    pod: Object
    what: str
    image: str
    policy: str

    @property
    def key(self) -> tuple[str, str]:
        """Which pull of which pod this is."""
        return uid(self.pod), self.what


class ImageFailure(Exception):
    """The image cannot be had: a waiting reason, a message, when to try again, and what to tell about it."""

    def __init__(self, reason: str, message: str, retry_at: float, events: tuple[ImageEvent, ...]) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at
        self.events = events


class Pulling(Exception):
    """The image is being pulled: the pod is woken when that ends. `events` are to be told now."""

    def __init__(self, request: Request, events: tuple[ImageEvent, ...] = ()) -> None:
        super().__init__(f"{request.image} is being pulled")
        self.request = request
        self.events = events


Secrets = Callable[[Object], Awaitable[Sequence[Credential]]]
"""Return the credentials in a pod's imagePullSecrets."""


class ImageManager:
    """One node's images. `store` is the machine's, None where the node has only its own Python environment.

    `secrets` returns a pod's credentials, `wake` has a pod's worker look again, `changed` hears of images that came or
    went, `on_use` of the id of each that a container is about to use, `on_forget` that some pod is gone.
    """

    def __init__(
        self,
        runtime: Runtime,
        aliases: Mapping[str, str],
        backoff_initial: float,
        backoff_max: float,
        *,
        now: Callable[[], float],
        store: ImageStore | None = None,
        puller: Puller | None = None,
        secrets: Secrets | None = None,
        wake: Callable[[str], None] = lambda pod_uid: None,
        changed: Callable[[], None] = lambda: None,
        on_use: Callable[[str], None] = lambda image_id: None,
        on_forget: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_forget = on_forget
        self._on_use = on_use
        self._runtime = runtime
        self._aliases = aliases
        self._initial, self._max = backoff_initial, backoff_max
        self._now = now
        self._store = store
        self._puller = puller
        self._records = PullRecords(store.directory) if store is not None else None
        self._secrets = secrets
        self._wake = wake
        self._changed = changed
        self._backoffs: dict[tuple[str, str], tuple[BackOff, float, str]] = {}
        self._pulls: dict[tuple[str, str], asyncio.Task[FoundImage | ImageFailure]] = {}

    async def find(self, request: Request) -> FoundImage:
        """Return the image, as the pull policy allows; raise ImageFailure, or Pulling while it is on its way."""
        pull = self._pulls.get(request.key)
        if pull is not None:
            return self._take(request, pull)
        reference = self._parse(request)
        alias = find_alias(request.image, self._aliases)
        host = await self._runtime.image(alias or request.image)
        if host is not None:
            return self._present(request, host, alias)
        stored = self._find_stored(request, reference)
        if stored is None and request.policy == "Never":
            raise self._never(request)
        if (
            stored is not None
            and request.policy != "Always"
            and await self._may_use(request, reference, stored)
        ):
            return self._present(request, self._use(stored, reference))
        if request.policy == "Never":
            raise self._never(request)
        raise self._begin(request, reference)

    def is_pulling(self, request: Request) -> bool:
        """Tell whether an image is still on its way."""
        pull = self._pulls.get(request.key)
        return pull is not None and not pull.done()

    def forget(self, pod_uid: str, wanted: str = "") -> None:
        """Drop the back-off of a pod's image, or all that is known of a pod."""
        for key in [k for k in self._backoffs if k[0] == pod_uid and wanted in ("", k[1])]:
            del self._backoffs[key]
        if not wanted:
            for key in [k for k in self._pulls if k[0] == pod_uid]:
                self._pulls.pop(key).cancel()
            self._on_forget()

    def stored(self) -> list[StoredImage]:
        """Return the images that are in the store."""
        return self._store.images() if self._store is not None else []

    async def status(self) -> list[tuple[list[str], int]]:
        """Return names and size in bytes of each image, as the Node's status tells them."""
        own = [([i.repo_digest, i.name], i.size_bytes) for i in await self._runtime.list_images()]
        return [*own, *((status_names(image), image.size) for image in self.stored())]

    async def stop(self) -> None:
        """Call off every pull."""
        if self._puller is not None:
            self._puller.close()
        for pull in self._pulls.values():
            pull.cancel()
        await asyncio.gather(*self._pulls.values(), return_exceptions=True)

    # What is here

    def _parse(self, request: Request) -> Reference:
        try:
            return parse(request.image)
        except InvalidReference as error:
            message = f'Failed to apply default image tag "{request.image}": couldn\'t parse image name '
            message += f'"{request.image}": {error}'
            event = ImageEvent("Warning", "InspectFailed", message)
            raise ImageFailure("InvalidImageName", message, self._now() + self._initial, (event,)) from None

    def _find_stored(self, request: Request, reference: Reference) -> StoredImage | None:
        if self._store is None:
            return None
        try:
            found = self._store.resolve(str(reference))
            if found is not None:
                make_image(self._store, found)
        except ImageError as error:
            message = f'Failed to inspect image "{request.image}": {error}'
            event = ImageEvent("Warning", "InspectFailed", message)
            if request.policy == "Never":
                raise ImageFailure(
                    "ImageInspectError", message, self._now() + self._initial, (event,)
                ) from None
            return None  # what is broken or not whole is pulled anew
        return found

    async def _may_use(self, request: Request, reference: Reference, stored: StoredImage) -> bool:
        assert self._records is not None
        if self._records.may_use(request.image, reference.name, stored.id, ()):
            return True
        credentials = await self._credentials(request, reference)
        return self._records.may_use(request.image, reference.name, stored.id, credentials)

    def _present(self, request: Request, image: Image, alias: str = "") -> FoundImage:
        self.forget(uid(request.pod), request.image)
        message = (
            f'Container image "{request.image}" already present on machine and can be accessed by the pod'
        )
        events = [ImageEvent("Normal", "Pulled", message)]
        if alias:
            events.insert(0, ImageEvent("Normal", "ImageAlias", describe_alias(request.image, alias)))
        return FoundImage(request.image, image, tuple(events))

    def _use(self, stored: StoredImage, reference: Reference) -> Image:
        assert self._store is not None
        self._on_use(stored.id)
        return make_image(self._store, stored, reference)

    def _never(self, request: Request) -> ImageFailure:
        message = f'Container image "{request.image}" is not present with pull policy of Never'
        event = ImageEvent("Warning", "ErrImageNeverPull", message)
        return ImageFailure("ErrImageNeverPull", message, self._now() + self._initial, (event,))

    # What has to come

    def _begin(self, request: Request, reference: Reference) -> Exception:
        key, now = (uid(request.pod), request.image), self._now()
        backoff, failed_at, cause = self._backoffs.get(key, (None, 0.0, ""))
        if backoff and now < backoff.wait_until(failed_at):
            message = f'Back-off pulling image "{request.image}"'
            event = ImageEvent("Normal", "BackOff", message)
            return ImageFailure(
                "ImagePullBackOff", f"{message}: {cause}", backoff.wait_until(failed_at), (event,)
            )
        event = ImageEvent("Normal", "Pulling", f'Pulling image "{request.image}"')
        task = asyncio.create_task(self._pull(request, reference), name=f"pull {request.image}")
        self._pulls[request.key] = task
        task.add_done_callback(lambda done: self._wake(uid(request.pod)))
        return Pulling(request, (event,))

    def _take(self, request: Request, pull: asyncio.Task[FoundImage | ImageFailure]) -> FoundImage:
        if not pull.done():
            raise Pulling(request)
        del self._pulls[request.key]
        result = pull.result()
        if isinstance(result, ImageFailure):
            raise result
        return result

    async def _pull(self, request: Request, reference: Reference) -> FoundImage | ImageFailure:
        if self._store is None or self._puller is None or self._records is None:
            return self._failed(
                request, ImageError(f'this node has no images but "{HOST_IMAGE}" and its aliases')
            )
        begun = self._now()
        await asyncio.to_thread(self._records.intend, request.image)
        try:
            credentials = await self._credentials(request, reference)
            result = await self._puller.pull(reference, credentials)
            image = self._use(result.image, reference)
        except (ImageError, OSError) as error:
            await asyncio.to_thread(self._records.failed, request.image)
            return self._failed(request, error)
        except BaseException:
            self._records.failed(request.image)
            raise
        whose = (request.image, reference.name, image.id, result.credential)
        await asyncio.to_thread(self._records.pulled, *whose)
        self.forget(uid(request.pod), request.image)
        self._changed()
        waited = go_duration(max(self._now() - begun, result.seconds))
        message = f'Successfully pulled image "{request.image}" in {go_duration(result.seconds)} '
        message += f"({waited} including waiting). Image size: {image.size_bytes} bytes."
        return FoundImage(request.image, image, (ImageEvent("Normal", "Pulled", message),))

    def _failed(self, request: Request, error: Exception) -> ImageFailure:
        reason, message = "ErrImagePull", str(error)
        if isinstance(error, RegistryUnavailable):
            reason = "RegistryUnavailable"
            message = f"image pull failed for {request.image} because the registry is unavailable: {error}"
        key, now = (uid(request.pod), request.image), self._now()
        backoff, _, _ = self._backoffs.get(key, (None, 0.0, ""))
        raised = next_backoff(backoff, now, self._initial, self._max)
        self._backoffs[key] = (raised, now, f"{reason}: {message}")
        event = ImageEvent("Warning", "Failed", f'Failed to pull image "{request.image}": {error}')
        return ImageFailure(reason, message, now, (event,))

    async def _credentials(self, request: Request, reference: Reference) -> list[Credential]:
        found = await self._secrets(request.pod) if self._secrets is not None else ()
        return find_credentials(found, reference)


def go_duration(seconds: float) -> str:
    """Return Go's text of a duration, truncated to milliseconds: 330ms, 1.5s, 2m3.004s."""
    millis = int(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text
