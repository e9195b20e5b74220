"""The models of one server by name: loaded, asked, unloaded, while it serves.

One model of one folder, or with `--repository` one of each folder below it. A folder whose own folders are numbers has
versions: the highest is served. A model is opened in a thread; a new one takes the old one's place when it is ready. So
does a model's successor (formats/protocol.py), of which one is made at a time.
Source: V2's model repository extension; python/kserve/kserve/model_repository.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from proa.ml.serving.server.batching import MOST_ROWS, Batcher
from proa.ml.serving.server.measures import Measures, ModelMeasures
from proa.ml.serving.wire.refusals import Refused, no_such_model, not_ready

if TYPE_CHECKING:
    from proa.ml.serving.server.asgi import Lifespan
    from proa.ml.serving.server.formats.protocol import Model, Successor, TensorModel
    from proa.ml.serving.server.options import Options

State = Literal["LOADING", "READY", "UNAVAILABLE"]

logger = logging.getLogger(__name__)


class Served(NamedTuple):
    """A model that answers. `batcher` is there for models of tensors, `lifespan` for applications."""

    name: str
    version: str
    model: Model
    batcher: Batcher | None
    measures: ModelMeasures
    lifespan: Lifespan | None = None


class Place(NamedTuple):
    """What is known of a model by its name."""

    state: State
    reason: str = ""
    served: Served | None = None


OpenModel = Callable[[str, Path, "Options"], "Model"]
"""Opens the model of a name and folder, in a thread."""


def open_by_format(name: str, folder: Path, options: Options) -> Model:
    """Return the model by its format; raise ModelError."""
    from proa.ml.serving.server.formats.loading import load_model
    from proa.ml.serving.server.formats.protocol import LoadOptions

    settings = dict(options.settings)
    if options.model_class:
        settings["model_class"] = options.model_class
    return load_model(folder, options.format, LoadOptions(name, options.threads, settings))


class Repository:
    """All models of a server. `changed` counts what was loaded and unloaded."""

    def __init__(self, options: Options, measures: Measures, open_model: OpenModel | None = None) -> None:
        self._options = options
        self._open = open_model or open_by_format
        self._measures = measures
        self._places: dict[str, Place] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._one_successor = asyncio.Lock()
        self._successions: set[asyncio.Task[None]] = set()
        self.changed = 0

    async def load_all(self) -> None:
        """Load what is there; of one model alone raise ModelError, of several tell in their state."""
        if not self._options.is_repository:
            await self._load(self._options.model_name)
            return
        names = self._find_names()
        for name in names:
            self._places[name] = Place("LOADING")
        for name in names:
            try:
                await self._load(name)
            except Exception as error:  # it was told in its state; the others are served
                logger.error("model %s is not loaded: %s", name, error)

    async def close(self) -> None:
        """Answer what is in hand, and let go of all models."""
        served = [place.served for place in self._places.values() if place.served is not None]
        self._places.clear()
        self.changed += 1
        await asyncio.gather(*(_close(one) for one in served))
        await asyncio.gather(*self._successions)

    def names(self) -> list[str]:
        """Return the names of the models that are loaded, or that load."""
        return [name for name, place in self._places.items() if place.state != "UNAVAILABLE"]

    @property
    def is_ready(self) -> bool:
        """Tell whether nothing is loading, and the model is there, or one of the repository's."""
        places = self._places.values()
        if any(place.state == "LOADING" for place in places):
            return False
        return self._options.is_repository or any(place.served is not None for place in places)

    def find_place(self, name: str) -> Place:
        """Return what is known of a model; raise Refused where there is none."""
        place = self._places.get(name)
        if place is None:
            raise no_such_model(name)
        return place

    def find(self, name: str, version: str = "") -> Served:
        """Return a model that answers; raise Refused."""
        place = self.find_place(name)
        if place.served is None:
            raise not_ready(name, place.reason)
        if version and version != place.served.version:
            has = f"version {place.served.version}" if place.served.version else "no versions"
            raise Refused(404, f"Model with name {name} has no version {version}: it has {has}.")
        return place.served

    def only_application(self) -> Served | None:
        """Return the one model, if it is an application."""
        if len(self._places) != 1:
            return None
        [place] = self._places.values()
        return place.served if place.served is not None and hasattr(place.served.model, "app") else None

    @property
    def has_text_models(self) -> bool:
        """Tell whether one is a model of language."""
        return any(p.served is not None and hasattr(p.served.model, "chat") for p in self._places.values())

    def index(self, *, only_ready: bool) -> list[dict[str, str]]:
        """Return V2's index of the repository."""
        names = (
            {**dict.fromkeys(self._find_names()), **self._places}
            if self._options.is_repository
            else self._places
        )
        rows = []
        for name in names:
            place = self._places.get(name) or Place("UNAVAILABLE", "unloaded")
            if only_ready and place.served is None:
                continue
            version = place.served.version if place.served is not None else ""
            rows.append({"name": name, "version": version, "state": place.state, "reason": place.reason})
        return rows

    async def load(self, name: str) -> None:
        """Load a model, anew where it is loaded; raise Refused."""
        if name not in self._places and name not in self._find_names():
            raise no_such_model(name)
        try:
            await self._load(name)
        except Refused:
            raise
        except Exception as error:
            raise not_ready(name, str(error)) from error

    async def unload(self, name: str) -> None:
        """Answer what a model has in hand, then let go of it; raise Refused."""
        self.find_place(name)
        async with self._lock(name):
            place = self._places.pop(name, None)
            if self._options.is_repository or place is None:
                pass
            else:
                self._places[name] = Place("UNAVAILABLE", "unloaded")
            self.changed += 1
            if place is not None and place.served is not None:
                await _close(place.served)

    async def _load(self, name: str) -> None:
        async with self._lock(name):
            before = self._places.get(name)
            old = before.served if before is not None else None
            if old is None:
                self._places[name] = Place("LOADING")
            try:
                folder, version = find_version(self._folder(name))
                model = await asyncio.to_thread(self._open, name, folder, self._options)
                made = await self._make(name, version, model)
            except Exception as error:
                if old is None:
                    self._places[name] = Place("UNAVAILABLE", str(error))
                raise
            self._places[name] = Place("READY", "", made)
            self.changed += 1
            self._expect_successor(name, made)
            if old is not None:
                await _close(old)

    def _expect_successor(self, name: str, made: Served) -> None:
        successor = getattr(made.model, "successor", None)
        if successor is not None:
            task = asyncio.create_task(self._replace(name, made, successor), name=f"successor of {name}")
            self._successions.add(task)
            task.add_done_callback(self._successions.discard)

    async def _replace(self, name: str, made: Served, successor: Successor) -> None:
        """Put a model's successor in its place, unless another one is there by then."""
        async with self._one_successor:
            try:
                model = await asyncio.to_thread(successor.make)
            except Exception:  # a model's own code may raise anything; what is served serves on
                logger.exception("model %s has no successor", name)
                return
        if model is None:
            return
        async with self._lock(name):
            place = self._places.get(name)
            if place is None or place.served is not made:
                model.close()
                return
            self._places[name] = Place("READY", "", await self._make(name, made.version, model))
            self.changed += 1
            await _close(made)

    async def _make(self, name: str, version: str, model: Model) -> Served:
        measures = self._measures.of(name)
        options = self._options
        batcher = None
        if hasattr(model, "is_batchable"):
            batcher = Batcher(
                cast("TensorModel", model),
                measures.predict,
                measures.rows,
                most_rows=options.max_batch_size if options.is_batching else MOST_ROWS,
                wait_seconds=options.max_latency_seconds if options.is_batching else 0.0,
            )
        lifespan = None
        if hasattr(model, "app"):
            from proa.ml.serving.server.asgi import Lifespan

            lifespan = Lifespan(model.app)
            await lifespan.start()
        return Served(name, version, model, batcher, measures, lifespan)

    def _folder(self, name: str) -> Path:
        return self._options.model_dir / name if self._options.is_repository else self._options.model_dir

    def _find_names(self) -> list[str]:
        options = self._options
        if not options.is_repository:
            return [options.model_name]
        try:
            found = [path.name for path in options.model_dir.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.startswith("."))

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def find_version(folder: Path) -> tuple[Path, str]:
    """Return the folder of the highest version, and its number, where all that a folder has is versions."""
    if not folder.is_dir():
        return folder, ""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if not inside or not all(path.is_dir() and path.name.isdigit() for path in inside):
        return folder, ""
    best = max(inside, key=lambda path: int(path.name))
    return best, best.name


async def _close(served: Served) -> None:
    if served.lifespan is not None:
        await served.lifespan.stop()
    if served.batcher is not None:
        await served.batcher.close()
    else:
        served.model.close()
