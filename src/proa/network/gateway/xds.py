"""Hand Envoy its configuration as files, each put in place at once: it sees a file when it is moved there.

One file has all clusters, one all listeners with their certificates, and one each the routes of a port: Envoy watches
each file with an inotify instance, of which there are few.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from proa.network.gateway import envoy_config
from proa.network.gateway.envoy_config import Json

PLACES = "ports.json"
KNOWN = "host-ports.json"
"""Which ports were offered at which others: it stays between starts."""
MOST_KNOWN = 64
FOLDERS = ("rds", "logs")


class Files:
    """Envoy's folder. `uid` is who reads it (-1: us)."""

    def __init__(self, folder: Path, uid: int) -> None:
        self.folder = folder
        self._uid = uid
        self._written: dict[str, bytes] = {}
        self._versions = itertools.count(1)

    def make(self) -> None:
        """Begin with an empty folder, but for the logs."""
        for path in (self.folder, *(self.folder / name for name in FOLDERS)):
            path.mkdir(mode=0o700, exist_ok=True)
            if self._uid >= 0:
                os.chown(path, self._uid, self._uid)
        for path in (self.folder / "rds").iterdir():
            path.unlink()
        self.clean()
        self._written.clear()

    def write_bootstrap(self, bootstrap: Json) -> None:
        """Write what Envoy starts with."""
        self._put("bootstrap.json", orjson.dumps(bootstrap))

    def write(self, path: str, type_url: str, resources: list[Json]) -> str:
        """Write resources where they have changed; return the version, "" where nothing was written."""
        content = orjson.dumps(resources)
        if self._written.get(path) == content:
            return ""
        version = str(next(self._versions))
        self._put(path, orjson.dumps(envoy_config.response(type_url, resources, version)))
        self._written[path] = content
        return version

    def keep_only(self, names: Iterable[str]) -> None:
        """Remove the routes that nothing refers to any more."""
        wanted = {envoy_config.file_name("rds", name) for name in names}
        for path in [p for p in self._written if p.startswith("rds/") and p not in wanted]:
            (self.folder / path).unlink(missing_ok=True)
            del self._written[path]

    def write_places(self, places: list[dict[str, Any]]) -> None:
        """Write where the proxy is reached."""
        if self._written.get(PLACES) != (content := orjson.dumps(places)):
            self._put(PLACES, content)
            self._written[PLACES] = content

    def read_known(self) -> dict[int, int]:
        """Return the host's ports of an earlier time, for each port that was offered at another."""
        try:
            found = orjson.loads((self.folder / KNOWN).read_bytes())
        except (OSError, ValueError):
            return {}
        pairs = found.items() if isinstance(found, dict) else ()
        return {int(port): number for port, number in pairs if port.isdecimal() and _is_port(number)}

    def write_known(self, ports: Mapping[int, int]) -> None:
        """Keep the host's ports for the next start, those that were asked for last."""
        last = {str(port): number for port, number in [*ports.items()][-MOST_KNOWN:]}
        if self._written.get(KNOWN) != (content := orjson.dumps(last)):
            self._put(KNOWN, content)
            self._written[KNOWN] = content

    def clean(self) -> None:
        """Leave no private key behind, and no word of ports that are closed."""
        for name in (PLACES, "lds.json"):
            (self.folder / name).unlink(missing_ok=True)

    def _put(self, path: str, content: bytes) -> None:
        target = self.folder / path
        temporary = target.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if self._uid >= 0:
                os.fchown(descriptor, self._uid, self._uid)
            file.write(content)
        os.replace(temporary, target)


def _is_port(number: object) -> bool:
    return type(number) is int and 0 < number < 65536


def stats_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the admin interface's statistics by name."""
    return {entry["name"]: entry.get("value") for entry in answer["stats"] if "name" in entry}
