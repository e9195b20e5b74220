"""Know how requests are to be controlled, as of the newest FlowSchemas and PriorityLevelConfigurations."""

from __future__ import annotations

import orjson

from proa.apiserver.flowcontrol.levels import Level
from proa.apiserver.flowcontrol.schemas import FlowSchema, read_levels, read_schemas
from proa.apiserver.registry.derived import Derived
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object, User
from proa.objects.resource import Resource
from proa.store.protocol import Store

FLOW_SCHEMAS = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", namespaced=False)
PRIORITY_LEVELS = Resource(
    "flowcontrol.apiserver.k8s.io",
    "v1",
    "prioritylevelconfigurations",
    "PriorityLevelConfiguration",
    namespaced=False,
)
MAX_IN_FLIGHT = 400 + 200
"""Upstream's --max-requests-inflight and --max-mutating-requests-inflight: the seats that all levels share."""
MAX_REMEMBERED = 4096

Flow = tuple[FlowSchema, Level]


class FlowControl:
    """Finds a request's schema and level. What it found is remembered until an object changes."""

    def __init__(self, store: Store, seats: int = MAX_IN_FLIGHT) -> None:
        self._store = store
        self._seats = seats
        self.levels: dict[str, Level] = {}
        self._schemas: list[FlowSchema] = []
        self._remembered: dict[tuple[object, ...], Flow] = {}
        self._current = Derived(store, (FLOW_SCHEMAS, PRIORITY_LEVELS), self._configure)

    def flow_of(self, user: User, info: RequestInfo) -> Flow:
        """Return the schema and the level of a request."""
        remembered = self._current.value()
        what = info.plural if info.is_resource else info.path
        key = (user.name, user.groups, info.verb, what, info.subresource, info.group, info.namespace)
        found = remembered.get(key)
        if found is None:
            last = next(s for s in self._schemas if s.name == "catch-all")
            schema = next((s for s in self._schemas if s.matches(user, info)), last)
            found = schema, self.levels[schema.level]
            if len(remembered) >= MAX_REMEMBERED:
                remembered.clear()
            remembered[key] = found
        return found

    def _configure(self) -> dict[tuple[object, ...], Flow]:
        """Read the objects; levels keep the requests that they have."""
        settings = read_levels(self._read(PRIORITY_LEVELS), self._seats)
        self._schemas = read_schemas(self._read(FLOW_SCHEMAS), settings)
        names = {level.name for level in settings}
        for name in [n for n in self.levels if n not in names]:
            if not self.levels[name].in_use:
                del self.levels[name]
        for level in settings:
            known = self.levels.get(level.name)
            if known is None:
                self.levels[level.name] = Level(level, self.levels)
            else:
                known.settings = level
        self._remembered = {}
        return self._remembered

    def _read(self, resource: Resource) -> list[Object]:
        prefix = f"/registry/{resource.group}/{resource.plural}/"
        return [orjson.loads(entry.value) for entry in self._store.range(prefix).entries]
