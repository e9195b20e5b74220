"""Read what a model's download may use: the pods' namespace, service account and its secrets.

Read when a revision is made, and not watched: a revision never changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import MAIN_CONTAINER, PREDICTOR
from proa.ml.serving.operator.configuration import Configuration
from proa.ml.serving.revisions.agent_container import component_port, find_component_container
from proa.ml.serving.revisions.conversions import make_conversions
from proa.ml.serving.revisions.credentials import StorageSpec, make_access, resolve_spec, secret_names
from proa.ml.serving.revisions.merging import Merged
from proa.ml.serving.revisions.model_files import (
    Access,
    Source,
    StorageSettings,
    make_model_files,
)
from proa.ml.serving.revisions.puller_container import make_puller
from proa.ml.serving.revisions.sources import Sources
from proa.ml.serving.revisions.template import PodFiles
from proa.ml.serving.settings import ServingSettings
from proa.ml.serving.spec.defaults import has_many_models
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import NAMESPACES, SECRETS, SERVICE_ACCOUNTS, Resource

STORAGE_SECRET = "storage-config"  # noqa: S105  a name
LOG_ACCOUNT = "logger-sa"
"""Whose secrets a payload logger writes to its store with; where there is no such account, the pods'."""
LOG_STORES = frozenset({"s3", "s3a", "gs", "abfs", "abfss"})


async def make_files(
    client: Client,
    settings: ServingSettings,
    configuration: Configuration,
    isvc: Object,
    merged: Merged,
    sources: Sources,
    revision: str,
    kind: str,
) -> PodFiles:
    """Return what pods of a component (`kind`) need to have files, and to log to a store.

    Raises InvalidStorage, ApiError.
    """
    files = await _make_model_files(client, settings, configuration, isvc, merged, sources, revision, kind)
    logger = isvc["spec"][kind].get("logger")
    if logger is None or urlsplit(logger.get("url") or configuration.log_url).scheme not in LOG_STORES:
        return files
    name = (logger.get("storage") or {}).get("serviceAccountName") or LOG_ACCOUNT
    namespace = meta.namespace(isvc)
    if await _find(client, SERVICE_ACCOUNTS, name, namespace) is None:
        name = ""
    return files._replace(log_access=await _read_access(client, configuration, merged, namespace, name))


async def _make_model_files(
    client: Client,
    settings: ServingSettings,
    configuration: Configuration,
    isvc: Object,
    merged: Merged,
    sources: Sources,
    revision: str,
    kind: str,
) -> PodFiles:
    if sources.is_empty:
        if kind != PREDICTOR or not has_many_models(isvc["spec"][PREDICTOR]):
            return PodFiles()
        access = await _read_access(client, configuration, merged, meta.namespace(isvc))
        port = component_port(find_component_container(merged.spec["containers"]))
        made = make_puller(meta.name(isvc), _storage_settings(settings, configuration), access, port)
        return PodFiles(made)
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
    return PodFiles(files, make_conversions(settings.model_cache, namespace, isvc, revision))


async def _read_access(
    client: Client, configuration: Configuration, merged: Merged, namespace: str, account_name: str = ""
) -> Access:
    """Return what the secrets of a service account let in, the pods' own unless another is named."""
    own = merged.spec.get("serviceAccountName") or "default"
    account = await _find(client, SERVICE_ACCOUNTS, account_name or own, namespace)
    names = secret_names(account, merged.annotations, configuration.credentials)
    secrets = await _find_all(client, names, namespace)
    return make_access(account, secrets, configuration.credentials)


def _main_env(merged: Merged) -> Sequence[Object]:
    for container in merged.spec["containers"]:
        if container.get("name") == MAIN_CONTAINER:
            return container.get("env") or ()
    return ()


def _storage_settings(settings: ServingSettings, configuration: Configuration) -> StorageSettings:
    said, resources = configuration.storage, configuration.storage_resources
    usual = StorageSettings()
    return StorageSettings(
        image=settings.image,
        cache=settings.model_cache,
        cache_bytes=said.get("cacheBytes") or usual.cache_bytes,
        model_bytes=said.get("modelBytes") or usual.model_bytes,
        oci_mode=configuration.oci_mode or usual.oci_mode,
        requests={**usual.requests, **resources.get("requests", {})},
        limits=resources.get("limits", {}),
        ca_config_map=configuration.ca_config_map,
        ca_folder=said.get("caBundleVolumeMountPath") or usual.ca_folder,
    )


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
