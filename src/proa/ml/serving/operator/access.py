"""Read what a model's download may use: the pods' namespace, service account and its secrets.

Read when a revision is made, and not watched: a revision never changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import MAIN_CONTAINER
from proa.ml.serving.operator.configuration import Configuration
from proa.ml.serving.revisions.conversions import make_conversions
from proa.ml.serving.revisions.credentials import StorageSpec, make_access, resolve_spec, secret_names
from proa.ml.serving.revisions.merging import Merged
from proa.ml.serving.revisions.model_files import (
    Access,
    Source,
    StorageSettings,
    make_model_files,
)
from proa.ml.serving.revisions.sources import Sources
from proa.ml.serving.revisions.template import PodFiles
from proa.ml.serving.settings import ServingSettings
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import NAMESPACES, SECRETS, SERVICE_ACCOUNTS, Resource

STORAGE_SECRET = "storage-config"  # noqa: S105  a name


async def make_files(
    client: Client,
    settings: ServingSettings,
    configuration: Configuration,
    isvc: Object,
    merged: Merged,
    sources: Sources,
    revision: str,
) -> PodFiles:
    """Return what pods need to have the model's files; raise InvalidStorage, ApiError."""
    if sources.is_empty:
        return PodFiles()
    namespace = await client.get(NAMESPACES, meta.namespace(isvc))
    access, uris = Access(), list(sources.uris)
    if sources.storage is not None:
        secret = await _find(client, SECRETS, STORAGE_SECRET, meta.name(namespace))
        uri, access = resolve_spec(_storage_spec(sources), secret, STORAGE_SECRET)
        uris = [(uri, Source("").path)]
    elif any(not uri.startswith("pvc://") for uri, _ in uris):
        access = await _read_access(client, configuration, merged, meta.name(namespace))
    files = make_model_files(
        [Source(uri, path) for uri, path in uris],
        _storage_settings(settings, configuration),
        revision=revision,
        uid=meta.uid(isvc),
        namespace=namespace,
        annotations=merged.annotations,
        access=access,
        env=_main_env(merged),
    )
    return PodFiles(files, make_conversions(settings.model_cache, namespace, isvc))


async def _read_access(
    client: Client, configuration: Configuration, merged: Merged, namespace: str
) -> Access:
    account = await _find(
        client, SERVICE_ACCOUNTS, merged.spec.get("serviceAccountName") or "default", namespace
    )
    names = secret_names(account, merged.annotations, configuration.credentials)
    secrets = await _find_all(client, names, namespace)
    return make_access(account, secrets, configuration.credentials)


def _main_env(merged: Merged) -> Sequence[Object]:
    for container in merged.spec["containers"]:
        if container.get("name") == MAIN_CONTAINER:
            return container.get("env") or ()
    return ()


def _storage_settings(settings: ServingSettings, configuration: Configuration) -> StorageSettings:
    made = StorageSettings(
        image=settings.image, cache=settings.model_cache, ca_config_map=configuration.ca_config_map
    )
    return made._replace(oci_mode=configuration.oci_mode) if configuration.oci_mode else made


def _storage_spec(sources: Sources) -> StorageSpec:
    said: Object = {**(sources.storage or {})}
    return StorageSpec(said.get("key") or "", said.get("path") or "", said.get("parameters") or {})


async def _find_all(client: Client, names: Iterable[str], namespace: str) -> list[Object]:
    found = await asyncio.gather(*(_find(client, SECRETS, name, namespace) for name in names))
    return [one for one in found if one is not None]


async def _find(client: Client, resource: Resource, name: str, namespace: str) -> Object | None:
    try:
        return await client.get(resource, name, namespace)
    except NotFound:
        return None
