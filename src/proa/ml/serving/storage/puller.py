"""Keep the models of a server that serves many as its ConfigMap says: fetch, load, replace, unload.

A program beside the server in its pod: `python -m proa.ml.serving.storage.puller`. It looks at models.json, which the
kubelet keeps, and tells the server by V2's repository extension. A model that changes is fetched first, and takes the
old one's place when it is there. What fails is said in the log, and tried again, ever later.

Source: KServe's pkg/agent (watcher.go, puller.go, downloader.go).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from proa.ml.serving.storage.fetching import Budget, fetch
from proa.ml.serving.storage.pieces import StorageError, Surroundings
from proa.ml.serving.storage.sources import find
from proa.ml.serving.storage.store import Store, link_all

FILE = "models.json"
STORE = ".store"
"""In the folder of models: what is fetched, what was pulled, and that all has been tried once."""
PULLED, READY = "pulled.json", "ready"
LOOK_SECONDS = 0.5
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 60.0
LOAD_SECONDS = 600
MAX_CONFIG_BYTES, MAX_MODELS = 4 << 20, 10_000
_NAME = re.compile(r"[a-zA-Z0-9]([\w.-]{0,251}\w)?")

Spec = Mapping[str, Any]


class Plan(NamedTuple):
    """What is to be done, by models' names."""

    remove: tuple[str, ...]
    pull: tuple[str, ...]


class PullError(Exception):
    """The server does not load, or unload, a model: why."""


def plan(wanted: Mapping[str, Spec], pulled: Mapping[str, Spec]) -> Plan:
    """Return what leads from what was pulled to what is wanted; memory is nothing that a fetch depends on."""
    remove = tuple(sorted(name for name in pulled if name not in wanted))
    pull = tuple(
        sorted(name for name, spec in wanted.items() if name not in pulled or _differs(spec, pulled[name]))
    )
    return Plan(remove, pull)


def read_config(text: bytes) -> dict[str, Spec]:
    """Return the models of models.json by name; raise ValueError."""
    entries = json.loads(text or b"[]")
    if not isinstance(entries, list) or len(entries) > MAX_MODELS:
        raise ValueError(f"no list of at most {MAX_MODELS} models")
    found: dict[str, Spec] = {}
    for entry in entries:
        name, spec = entry.get("modelName"), entry.get("modelSpec")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(spec, dict):
            raise ValueError(f"{name!r} is no model's name, or has no modelSpec")
        found[name] = spec
    return found


class Puller:
    """One folder of models, and the server that has them."""

    def __init__(self, folder: Path, server: str, env: Mapping[str, str], limit_bytes: int) -> None:
        """`server` is its address, as http://127.0.0.1:8080."""
        self._folder, self._server, self._env, self._limit = folder, server, env, limit_bytes
        self._store = Store(folder / STORE)
        self.pulled: dict[str, Spec] = self._read_pulled()
        self._waits: dict[str, tuple[float, float]] = {}

    def bring(self, wanted: Mapping[str, Spec], now: float) -> bool:
        """Go towards what is wanted; return whether all is as wanted. What failed waits for its time."""
        todo = plan(wanted, self.pulled)
        self._waits = {name: wait for name, wait in self._waits.items() if name in (*todo.remove, *todo.pull)}
        for name in todo.remove:
            self._try(name, partial(self._remove, name), now)
        for name in todo.pull:
            self._try(name, partial(self._pull, name, wanted[name]), now)
        if todo.remove or todo.pull:
            self._store.evict(0)
        (self._store.root / READY).touch()
        return not self._waits

    def _try(self, name: str, work: Callable[[], None], now: float) -> None:
        due, seconds = self._waits.get(name, (0.0, FIRST_WAIT_SECONDS))
        if now < due:
            return
        try:
            work()
            self._waits.pop(name, None)
        except (StorageError, PullError, OSError) as error:
            _say(f"model {name}: {error}; again in {seconds:.0f} s")
            self._waits[name] = (now + seconds, min(2 * seconds, LAST_WAIT_SECONDS))

    def _pull(self, name: str, spec: Spec) -> None:
        made = self._store.root / "new" / name
        shutil.rmtree(made, ignore_errors=True)
        with self._store.shared():
            model = find(str(spec.get("storageUri") or ""), Surroundings(self._env), say=_say)
            files = fetch(model, self._store, Budget(self._limit, _say))
            link_all(self._store, files, made)
        target, old = self._folder / name, self._store.root / "old"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        made.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        self._ask(name, "load")
        self._write_pulled({**self.pulled, name: spec})
        _say(f"model {name} is loaded: {model.resolved}")

    def _remove(self, name: str) -> None:
        self._ask(name, "unload")
        shutil.rmtree(self._folder / name, ignore_errors=True)
        self._write_pulled({key: spec for key, spec in self.pulled.items() if key != name})
        _say(f"model {name} is unloaded")

    def _ask(self, name: str, what: str) -> None:
        """Tell the server; raise PullError. One that does not know a model has unloaded it."""
        url = f"{self._server}/v2/repository/models/{name}/{what}"
        request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})  # noqa: S310
        try:
            urllib.request.urlopen(request, timeout=LOAD_SECONDS).close()  # noqa: S310  the server's own address
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(1000).decode("utf-8", "replace")
            if what == "unload" and error.code == 404:
                return
            raise PullError(f"the server answered {error.code} to {what}: {said}") from None
        except OSError as error:
            raise PullError(f"the server does not answer: {getattr(error, 'reason', error)}") from None

    def _read_pulled(self) -> dict[str, Spec]:
        try:
            found = json.loads((self._store.root / PULLED).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {name: spec for name, spec in found.items() if (self._folder / name).is_dir()}

    def _write_pulled(self, pulled: dict[str, Spec]) -> None:
        beside = self._store.root / f"{PULLED}.new"
        beside.write_text(json.dumps(pulled))
        beside.rename(self._store.root / PULLED)
        self.pulled = pulled


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Pull until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m proa.ml.serving.storage.puller", description=__doc__)
    parser.add_argument("--config-dir", default="/mnt/configs", help=f"the folder with {FILE}")
    parser.add_argument("--model-dir", default="/mnt/models", help="a folder for each model is made in it")
    parser.add_argument(
        "--server", default="http://127.0.0.1:8080", help="where the server of the models answers"
    )
    parser.add_argument("--limit", type=int, default=200 << 30, help="how many bytes a model may have")
    options = parser.parse_args(arguments)
    if not options.server.startswith("http://"):
        parser.error("--server: an address of http://")
    signal.signal(
        signal.SIGTERM, lambda *_: os._exit(0)
    )  # in the midst of a download too: a store survives any end
    puller = Puller(Path(options.model_dir), options.server, os.environ, options.limit)
    _watch(Path(options.config_dir) / FILE, puller)


def _watch(config: Path, puller: Puller) -> NoReturn:
    seen, said, is_done = b"\0", "", False
    while True:
        text = _read(config)
        if text != seen or not is_done:
            try:
                is_done = puller.bring(read_config(text), time.monotonic())
                said = ""
            except (ValueError, AttributeError) as error:
                is_done = True
                if str(error) != said:
                    said = str(error)
                    _say(f"{config}: {error}")
            seen = text
        time.sleep(LOOK_SECONDS)  # the kubelet replaces the file; looking costs less than being told


def _read(config: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError), config.open("rb") as file:
        return file.read(MAX_CONFIG_BYTES)
    return b""


def _differs(one: Spec, other: Spec) -> bool:
    return any(one.get(key) != other.get(key) for key in ("storageUri", "framework"))


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
