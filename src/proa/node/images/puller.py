"""Pull images in threads of their own, one by one or several at once, and call them off when the node stops."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

from proa.images.credentials import Credential
from proa.images.errors import Cancelled
from proa.images.reference import Reference
from proa.images.store import ImageStore, StoredImage
from proa.objects.quick_dataclass import dataclass

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class PullResult:
    """What was pulled, with which credential (None: none was needed), and how long the pull itself took."""

    image: StoredImage
    credential: Credential | None
    seconds: float


class Puller:
    """Pulls into one store. `registries` is the configuration's path, read for each pull; `at_once` 0 is no limit."""

    def __init__(self, store: ImageStore, registries: Path, at_once: int) -> None:
        self._store = store
        self._registries = registries
        self._slots = asyncio.Semaphore(at_once) if at_once else None
        self._stops: set[Callable[[], None]] = set()
        self._is_closed = False

    async def pull(self, reference: Reference, credentials: Sequence[Credential]) -> PullResult:
        """Pull an image when it is its turn; raise ImageError."""
        if self._slots is None:
            return await self._pull(reference, credentials)
        async with self._slots:
            return await self._pull(reference, credentials)

    async def _pull(self, reference: Reference, credentials: Sequence[Credential]) -> PullResult:
        from proa.images.pull import pull
        from proa.images.registries import Registries
        from proa.images.transport import Stop

        stop = Stop()
        if self._is_closed:
            raise Cancelled("the node stops")

        def work() -> PullResult:
            begun = monotonic()
            registries = Registries.read(self._registries)
            pulled = pull(self._store, registries, reference, credentials, stop=stop)
            return PullResult(pulled.image, pulled.credential, monotonic() - begun)

        self._stops.add(stop.set)
        try:
            return await run_in_thread(work, f"pull {reference.familiar}")
        except asyncio.CancelledError:
            stop.set()
            raise
        finally:
            self._stops.discard(stop.set)

    def close(self) -> None:
        """Call off what is being pulled; what has come of it is gone on with the next time."""
        self._is_closed = True
        for stop in [*self._stops]:
            stop()


async def run_in_thread(work: Callable[[], _Result], name: str) -> _Result:
    """Run what blocks in a thread of its own, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def finish(result: _Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
