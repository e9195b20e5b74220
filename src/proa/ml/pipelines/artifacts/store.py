"""One namespace's artifacts, wherever its ConfigMap says that they are: a folder of this machine, buckets, or both.

Each URI is asked of the place that has it (bucket_settings.LauncherConfig). Places block, so they work in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from proa.ml.pipelines.artifacts import placement, uris
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings, LauncherConfig
from proa.ml.pipelines.artifacts.folder import Folder
from proa.ml.pipelines.artifacts.place import Place, stream
from proa.ml.pipelines.artifacts.protocol import ArtifactError, Placement, Stat
from proa.ml.pipelines.artifacts.uris import DELIVERED, KFP, Uri
from proa.ml.pipelines.records import Artifact
from proa.objects.quick_dataclass import dataclass

T = TypeVar("T")
BUCKET_CALLS = 4
"""Of one namespace at a time, so that one whose endpoint does not answer leaves threads to the others."""
OpenBucket = Callable[[str, BucketSettings], Awaitable[Place]]
"""Open the bucket of that name for this process; raises ArtifactError where its credentials are missing."""


@dataclass(frozen=True, slots=True)
class Threads:
    """Where calls block: of this machine's disk, and of object stores, which may take long to answer."""

    folder: Executor
    buckets: Executor


class NamespaceStore:
    """See protocol.ArtifactStore."""

    def __init__(
        self,
        config: LauncherConfig,
        folder: Folder | None,
        ensure_claim: Callable[[], Awaitable[None]],
        open_bucket: OpenBucket,
        image: str,
        threads: Threads,
    ) -> None:
        """`folder` is None where no folder of this machine is shared with pods; `image` has Proa and obstore."""
        self._config = config
        self._folder = folder
        self._ensure_claim = ensure_claim
        self._open_bucket = open_bucket
        self._image = image
        self._threads = threads
        self._of_buckets = asyncio.Semaphore(BUCKET_CALLS)

    @property
    def root(self) -> str:
        return str(uris.parse(self._config.root))

    async def stat(self, uri: str) -> Stat | None:
        place, parsed = await self._find(uri)
        return await self._ask(place, place.stat, parsed)

    async def read(self, uri: str, limit: int) -> bytes:
        place, parsed = await self._find(uri)
        found = await self._ask(place, place.read, parsed, limit)
        if found is None:
            raise ArtifactError(f"artifact {uri}: no file is there")
        return found

    async def stream(self, uri: str) -> AsyncIterator[bytes]:
        place, parsed = await self._find(uri)
        chunks = await self._ask(place, stream, place, parsed)
        step: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                step = asyncio.ensure_future(self._ask(place, next, chunks, None))
                chunk = await asyncio.shield(step)
                if chunk is None:
                    return
                yield chunk
        finally:
            if step is not None and not step.done():
                await asyncio.wait([step])
            await self._ask(place, _close, chunks)

    async def write(self, uri: str, data: bytes) -> None:
        place, parsed = await self._find(uri)
        await self._ask(place, place.write, _named(parsed), data)

    async def remove(self, uri: str) -> None:
        place, parsed = await self._find(uri)
        await self._ask(place, place.remove, _named(parsed))

    async def check_import(self, uri: str) -> Stat | None:
        if uri.startswith("oci://") and len(uri) > len("oci://"):
            return None
        found = await self.stat(_importable(uri))
        if found is None:
            raise ArtifactError(f"artifact {uri}: nothing is there to import")
        return found

    async def prepare(self, inputs: Sequence[Artifact], task_root: str) -> Placement:
        root = uris.parse(task_root)
        here: list[Artifact] = []
        elsewhere: set[Uri] = set()
        brought = [one for one in inputs if uris.local_path(one.uri) and not placement.is_in_workspace(one)]
        for artifact in brought:
            if artifact.uri.startswith("oci://"):
                continue
            uri = uris.parse(artifact.uri)
            if self._has_folder(uri):
                here.append(artifact)
            else:
                elsewhere.add(uri)
        is_here = self._has_folder(root)
        mounted = await self._mount(here, root if is_here else None)
        fetched = placement.fetched({uri: self._config.settings(uri) for uri in elsewhere}, self._image)
        images = placement.with_images(brought)
        if is_here:
            return placement.merge(fetched, images, mounted)
        await self._place_of(root)  # what its outputs could not be read with is told before the step runs
        delivered = placement.delivered(root, self._config.settings(root), self._image)
        return placement.merge(fetched, images, mounted, delivered)

    async def seal(self, task_root: str) -> None:
        root = uris.parse(task_root)
        if self._has_folder(root):
            assert self._folder is not None
            await self._ask(self._folder, self._folder.seal, root)
            return
        place = await self._place_of(root)
        if await self._ask(place, place.read, root.below(*DELIVERED), 1) is None:
            raise ArtifactError(
                f"artifacts {task_root}: not all outputs arrived: container {placement.DELIVER} did not end its work"
            )

    async def read_output(self, task_root: str, path: str, limit: int) -> bytes | None:
        place, parsed = await self._find(task_root)
        found = await self._ask(place, place.read, _written_to(parsed, path), limit + 1)
        if found is not None and len(found) > limit:
            raise ArtifactError(f"output {path}: more than {limit} bytes: pass what is large as an artifact")
        return found

    async def _find(self, uri: str) -> tuple[Place, Uri]:
        parsed = uris.parse(uri)
        return await self._place_of(parsed), parsed

    async def _place_of(self, uri: Uri) -> Place:
        if self._has_folder(uri):
            assert self._folder is not None
            return self._folder
        return await self._open_bucket(uri.bucket, self._config.settings(uri))

    def _has_folder(self, uri: Uri) -> bool:
        return self._folder is not None and self._config.is_folder(uri)

    async def _mount(self, inputs: Sequence[Artifact], task_root: Uri | None) -> Placement:
        """Mount inputs of the folder; one that is not there (a task need not write what it declares) is none."""
        if not inputs and task_root is None:
            return Placement()
        assert self._folder is not None
        await self._ask(self._folder, self._folder.make)
        await self._ensure_claim()
        if task_root is not None:
            await self._ask(self._folder, self._folder.make_room, task_root)
        wanted = placement.group_by_run(inputs)
        there = await self._ask(self._folder, self._existing, wanted)
        return placement.from_folder(there, task_root)

    def _existing(self, wanted: Sequence[Uri]) -> list[Uri]:
        assert self._folder is not None
        return [uri for uri in wanted if self._folder.has(uri)]

    async def _ask(self, place: Place, function: Callable[..., T], *arguments: Any) -> T:
        """Call what asks a place, in a thread."""
        run = asyncio.get_running_loop().run_in_executor
        if place is self._folder:
            return await run(self._threads.folder, function, *arguments)
        async with self._of_buckets:
            return await run(self._threads.buckets, function, *arguments)


def _named(uri: Uri) -> Uri:
    if not uri.key:
        raise ArtifactError(f"artifact {uri}: names a bucket, not what is in it")
    return uri


def _importable(uri: str) -> str:
    """Refuse what no container could find: it has no local path, or is a file of who knows which machine."""
    if not uris.local_path(uri):
        raise ArtifactError(
            f"no provider scheme found in artifact URI: {uri}: import from minio://, s3://, gs:// or oci://, or pass an"
            " address as a parameter"
        )
    return uri


def _written_to(root: Uri, path: str) -> Uri:
    """Return where a container's path is kept: what is below /tmp/kfp, or below the attempt's own folder."""
    for below, names in ((placement.KFP_PATH, KFP), (root.local_path, ())):
        if path.startswith(f"{below}/"):
            return root.below(*names, *path[len(below) + 1 :].split("/"))
    raise ArtifactError(f"output {path!r}: below neither {placement.KFP_PATH} nor {root.local_path}")


def _close(chunks: Iterator[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
