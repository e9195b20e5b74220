"""Find a container's image: one that is here, one that an alias stands for, or a clear refusal with a back-off.

The alias table maps well-known Python images to `proa.local/python`, this machine's own Python environment.
Words follow pkg/kubelet/images/image_manager.go (1.36).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.client.protocol import Object
from proa.node.backoff import BackOff, next_backoff
from proa.node.runtimes.protocol import Image, Runtime
from proa.objects.meta import uid
from proa.objects.quick_dataclass import dataclass

HOST_IMAGE = "proa.local/python"

ALIASES: Mapping[str, str] = {
    "python": HOST_IMAGE,
    "python:3": HOST_IMAGE,
    "python:3-slim": HOST_IMAGE,
    "python:latest": HOST_IMAGE,
    "python:slim": HOST_IMAGE,
    **{
        f"python:3.{minor}{suffix}": HOST_IMAGE
        for minor in range(8, 15)
        for suffix in ("", "-slim", "-bookworm")
    },
}
"""Short names, without registry and `library/`; see docs/compatibility.md."""

_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_DOCKER_PREFIXES = ("docker.io/library/", "docker.io/", "index.docker.io/library/", "library/")


@dataclass(frozen=True, slots=True)
class ImageEvent:
    """An Event to record about the container's image."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class FoundImage:
    """The image to run, and what to tell about it."""

    image: Image
    events: tuple[ImageEvent, ...]


class ImageFailure(Exception):
    """The image cannot be had: a waiting reason, a message, when to try again, and what to tell about it."""

    def __init__(self, reason: str, message: str, retry_at: float, events: tuple[ImageEvent, ...]) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at
        self.events = events


class ImageStore:
    """The node's images, by name or alias, with a back-off for each (pod, image)."""

    def __init__(
        self, runtime: Runtime, aliases: Mapping[str, str], backoff_initial: float, backoff_max: float
    ) -> None:
        self._runtime = runtime
        self._aliases = aliases
        self._initial, self._max = backoff_initial, backoff_max
        self._backoffs: dict[tuple[str, str], tuple[BackOff, float, str]] = {}

    async def find(self, pod: Object, container: Object, now: float) -> FoundImage:
        """Return the container's image, as its imagePullPolicy allows; raise ImageFailure."""
        wanted = container["image"]
        if not _REFERENCE.fullmatch(wanted):
            message = f'Failed to apply default image tag "{wanted}": couldn\'t parse image name "{wanted}": '
            message += "invalid reference format"
            event = ImageEvent("Warning", "InspectFailed", message)
            raise ImageFailure("InvalidImageName", message, now + self._initial, (event,))
        alias = find_alias(wanted, self._aliases)
        image = await self._runtime.image(alias or wanted)
        if image is None:
            raise self._refuse(pod, container, now)
        self.forget(uid(pod), wanted)
        message = f'Container image "{wanted}" already present on machine and can be accessed by the pod'
        events = [ImageEvent("Normal", "Pulled", message)]
        if alias:
            told = (
                f'Image "{wanted}" stands for "{alias}", this node\'s own Python environment (an image alias)'
            )
            events.insert(0, ImageEvent("Normal", "ImageAlias", told))
        return FoundImage(image, tuple(events))

    def forget(self, pod_uid: str, wanted: str = "") -> None:
        """Drop the back-off of a pod's image, or of all of its images."""
        for key in [k for k in self._backoffs if k[0] == pod_uid and wanted in ("", k[1])]:
            del self._backoffs[key]

    def _refuse(self, pod: Object, container: Object, now: float) -> ImageFailure:
        wanted, key = container["image"], (uid(pod), container["image"])
        if container.get("imagePullPolicy") == "Never":
            message = f'Container image "{wanted}" is not present with pull policy of Never'
            event = ImageEvent("Warning", "ErrImageNeverPull", message)
            return ImageFailure("ErrImageNeverPull", message, now + self._initial, (event,))
        backoff, failed_at, cause = self._backoffs.get(key, (None, 0.0, ""))
        if backoff and now < backoff.wait_until(failed_at):
            message = f'Back-off pulling image "{wanted}"'
            event = ImageEvent("Normal", "BackOff", message)
            detail = f"{message}: ErrImagePull: {cause}"
            return ImageFailure("ImagePullBackOff", detail, backoff.wait_until(failed_at), (event,))
        cause = refusal(wanted)
        raised = next_backoff(backoff, now, self._initial, self._max)
        self._backoffs[key] = (raised, now, cause)
        events = (
            ImageEvent("Normal", "Pulling", f'Pulling image "{wanted}"'),
            ImageEvent("Warning", "Failed", f'Failed to pull image "{wanted}": {cause}'),
        )
        return ImageFailure("ErrImagePull", cause, now, events)


def find_alias(wanted: str, aliases: Mapping[str, str]) -> str:
    """Return the image that `wanted` stands for, "" when it is no alias."""
    if wanted in aliases:
        return aliases[wanted]
    for prefix in _DOCKER_PREFIXES:
        if wanted.startswith(prefix) and wanted.removeprefix(prefix) in aliases:
            return aliases[wanted.removeprefix(prefix)]
    return ""


def refusal(wanted: str) -> str:
    """Return why an image that is not here cannot be had, and what to do."""
    return (
        f'image "{wanted}" is not on this node, and this version of Proa does not pull from registries yet: '
        f'use "{HOST_IMAGE}" (this machine\'s Python environment) or add an image alias'
    )
