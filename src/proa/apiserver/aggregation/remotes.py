"""Know which group versions are served by others, as the stored APIServices say."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import orjson

from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.derived import Derived
from proa.apiserver.resources.apiregistration.apiservice import available
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import API_SERVICES


@dataclass(frozen=True, slots=True)
class Remote:
    """A group version that a server behind a Service has."""

    name: str
    group: str
    version: str
    service: tuple[str, str]
    """(namespace, name)."""
    port: int
    ca_bundle: bytes
    insecure: bool
    group_priority: int
    version_priority: int
    is_available: bool

    @property
    def server_name(self) -> str:
        """Return the name that the server's certificate must have."""
        namespace, name = self.service
        return f"{name}.{namespace}.svc"

    @property
    def path(self) -> str:
        """Return the path of the group version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


class Remotes:
    """The remote group versions, as of the newest durable write."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.generation = 0
        """Rises when they change."""
        self._derived: Derived[Mapping[tuple[str, str], Remote]] = Derived(
            catalog.store, (API_SERVICES,), self._read
        )

    def all(self) -> Mapping[tuple[str, str], Remote]:
        """Return them by (group, version)."""
        return self._derived.value()

    def _read(self) -> Mapping[tuple[str, str], Remote]:
        prefix = f"/registry/{API_SERVICES.group}/{API_SERVICES.plural}/"
        found: dict[tuple[str, str], Remote] = {}
        for entry in self._catalog.store.range(prefix).entries:
            if b'"service":{' not in entry.value:
                continue
            api_service = orjson.loads(entry.value)
            spec = api_service["spec"]
            service = spec.get("service")
            if service is None:
                continue
            group, version = spec.get("group") or "", spec["version"]
            found[group, version] = Remote(
                api_service["metadata"]["name"],
                group,
                version,
                (service["namespace"], service["name"]),
                service.get("port") or 443,
                base64.b64decode(spec.get("caBundle") or ""),
                bool(spec.get("insecureSkipTLSVerify")),
                spec["groupPriorityMinimum"],
                spec["versionPriority"],
                available(api_service).get("status") == "True",
            )
        self.generation += 1
        return found
