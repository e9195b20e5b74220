"""What the rest asks of a place for artifacts. A folder of this machine and object stores pass one contract suite.

An artifact's URI is `{pipeline root}/{pipeline}/{run id}/{task name}/{salt}/{output}` (uris.make_task_root); a file
or a folder is there. In a container it is found below `/minio/`, `/s3/`, `/gcs/` or `/oci/` (uris.local_path).
`ArtifactStores.of(namespace)` (choice.py) gives a namespace's store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import field
from typing import Any, Protocol

from proa.ml.pipelines.records import Artifact
from proa.objects.quick_dataclass import dataclass

DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
"""The pipeline root where none is configured, as upstream's."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What is at a URI: bytes in all, and a tag that changes when its content does (etags, or sizes and times)."""

    size: int
    tag: str
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """What a pod needs so that its main container finds inputs and leaves outputs at their local paths.

    `init_containers` run before it (they fetch), `sidecars` beside it: init containers that restart always, told by
    SIGTERM after the main container's end to deliver what it left. All of these are Kubernetes' own shapes.
    In a pod `init_containers` come before the user's, `sidecars` last of the init containers.
    """

    volumes: Sequence[dict[str, Any]] = ()
    mounts: Sequence[dict[str, Any]] = ()
    init_containers: Sequence[dict[str, Any]] = ()
    sidecars: Sequence[dict[str, Any]] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    env: Sequence[dict[str, Any]] = ()
    """Variables of the main container; a step's own count more."""
    grace_seconds: int = 0
    """The pod's terminationGracePeriodSeconds at least, so that there is time to deliver; 0 for no wish.

    Who stops a pod early says so in its DELETE: the main container would have as long."""


class ArtifactStore(Protocol):
    """Artifacts of one namespace. Unknown or foreign URIs raise ArtifactError, with what would work."""

    @property
    def root(self) -> str:
        """The pipeline root of runs that name none."""

    async def stat(self, uri: str) -> Stat | None:
        """Return what is there; None for nothing."""

    async def read(self, uri: str, limit: int) -> bytes:
        """Return a file's first `limit` bytes at most; raise ArtifactError where there is none."""

    def stream(self, uri: str) -> AsyncIterator[bytes]:
        """Yield a file in chunks; a folder as a .tar.gz."""

    async def write(self, uri: str, data: bytes) -> None:
        """Write a file whole or not at all, durably."""

    async def remove(self, uri: str) -> None:
        """Remove a file or folder; nothing there is fine."""

    async def check_import(self, uri: str) -> Stat | None:
        """Return what an importer's URI leads to, None where only the pod can tell (oci://).

        Raises ArtifactError where nothing is there, or where no container could find it.
        """

    async def prepare(self, inputs: Sequence[Artifact], task_root: str) -> Placement:
        """Make ready for an attempt that reads `inputs` and may write below `task_root` only.

        Also makes the attempt's own folder for what is not an artifact: output parameters, which the container writes
        below /tmp/kfp. The executor output it writes into the local path of `task_root`, as `dsl.get_uri` asks for.
        The operator reads both with `read_output`. Doing it again is harmless.
        """

    async def seal(self, task_root: str) -> None:
        """Make durable what an attempt that has ended well left; raise ArtifactError where not all of it arrived.

        Comes before `read_output` and `stat`, and before the attempt is recorded as succeeded.
        """

    async def read_output(self, task_root: str, path: str, limit: int) -> bytes | None:
        """Return what the attempt wrote to the container's `path`; None where it wrote nothing.

        `path` is below /tmp/kfp, or below the local path of `task_root`.
        More than `limit` bytes raise ArtifactError.
        """


class ArtifactError(Exception):
    """An artifact cannot be had; the message names the URI and says what would work."""
