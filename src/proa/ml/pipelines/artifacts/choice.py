"""Find the store of a namespace's artifacts, and keep it until its ConfigMap or the Secret of its bucket changes.

Reads ConfigMap `kfp-launcher` and Secrets of that namespace only; makes its claim (claims.py) where pods need it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from proa.client.protocol import Client
from proa.ml.pipelines.artifacts import bucket_settings, claims, endpoints
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings, SecretKeys
from proa.ml.pipelines.artifacts.endpoints import Outside
from proa.ml.pipelines.artifacts.folder import Folder
from proa.ml.pipelines.artifacts.object_store import Bucket, Credentials
from proa.ml.pipelines.artifacts.place import Place
from proa.ml.pipelines.artifacts.protocol import ArtifactError, ArtifactStore
from proa.ml.pipelines.artifacts.store import NamespaceStore, Threads
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CONFIG_MAPS, SECRETS

HOST_IMAGE = "proa.local/python"
MAX_OPEN_BUCKETS = 256
_OF_EMULATORS = frozenset(("gcs_base_url", "disable_oauth"))
FOLDER_THREADS, BUCKET_THREADS = 8, 32


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the operator's place in the world says.

    `folder` is shared with the pods of this machine's nodes; None where none is, as on a cluster of other machines.
    `image` has Proa and obstore, for containers that fetch and deliver. With `own_credentials` a bucket whose
    credentials are `fromEnv` is read with this process' own: for one where all namespaces are trusted alike.
    """

    folder: Path | None
    image: str = HOST_IMAGE
    outside: Outside = Outside()  # frozen
    own_credentials: bool = False


class ArtifactStores:
    """The stores of all namespaces."""

    def __init__(self, client: Client, settings: StoreSettings) -> None:
        self._client = client
        self._settings = settings
        self._stores: dict[str, tuple[str, NamespaceStore]] = {}
        self._buckets: dict[tuple[str, str, BucketSettings], tuple[str, Place]] = {}
        self._threads = Threads(
            ThreadPoolExecutor(FOLDER_THREADS, thread_name_prefix="artifacts"),
            ThreadPoolExecutor(BUCKET_THREADS, thread_name_prefix="buckets"),
        )

    async def of(self, namespace: str) -> ArtifactStore:
        """Return a namespace's store as its ConfigMap is now; raise ArtifactError where that says nothing usable."""
        try:
            config_map = await self._client.get(CONFIG_MAPS, bucket_settings.CONFIG_MAP, namespace)
        except NotFound:
            config_map = None
        version = f"{meta.uid(config_map)}/{meta.resource_version(config_map)}" if config_map else ""
        known = self._stores.get(namespace)
        if known is None or known[0] != version:
            known = version, self._make(namespace, bucket_settings.read(config_map))
            self._stores[namespace] = known
        return known[1]

    def forget(self, namespace: str) -> None:
        """Let go of a namespace that is gone."""
        self._stores.pop(namespace, None)
        for key in [key for key in self._buckets if key[0] == namespace]:
            del self._buckets[key]

    async def close(self) -> None:
        """Let go of the threads, once what they do is done."""
        for threads in (self._threads.folder, self._threads.buckets):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    def _make(self, namespace: str, config: bucket_settings.LauncherConfig) -> NamespaceStore:
        path = self._settings.folder / namespace if self._settings.folder is not None else None
        return NamespaceStore(
            config,
            Folder(path) if path is not None else None,
            functools.partial(claims.ensure, self._client, namespace, path or Path()),
            functools.partial(self._open, namespace),
            self._settings.image,
            self._threads,
        )

    async def _open(self, namespace: str, name: str, settings: BucketSettings) -> Place:
        """Return a bucket; one that is open stays so while its Secret is the same."""
        credentials, version = None, ""
        if settings.secret is not None:
            credentials, version = await self._read_secret(namespace, settings.secret)
            if settings.scheme == "gs":
                _check_google_key(credentials.secret_key, settings.secret.name)
        elif not settings.anonymous and not self._settings.own_credentials:
            raise ArtifactError(
                f"bucket {settings.scheme}://{name}: no credentials of namespace {namespace} are configured, and this"
                " server's own are not used for it: name a Secret in the ConfigMap kfp-launcher"
                f" (providers.{settings.scheme}.default.credentials.secretRef)"
            )
        endpoint = await endpoints.find(self._client, namespace, settings, self._settings.outside)
        reached = replace(settings, endpoint=endpoint)
        key = (namespace, name, reached)
        known = self._buckets.get(key)
        if known is None or known[0] != version:
            run = asyncio.get_running_loop().run_in_executor
            known = version, await run(self._threads.buckets, Bucket, name, reached, credentials)
            while len(self._buckets) >= MAX_OPEN_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
            self._buckets[key] = known
        return known[1]

    async def _read_secret(self, namespace: str, wanted: SecretKeys) -> tuple[Credentials, str]:
        place = f'failed to get Bucket credentials from secret name="{wanted.name}" namespace="{namespace}"'
        try:
            secret = await self._client.get(SECRETS, wanted.name, namespace)
        except NotFound:
            raise ArtifactError(f"{place}: it is not there") from None
        data = secret.get("data") or {}
        try:
            keys = [
                base64.b64decode(data.get(key) or "").decode() if key else ""
                for key in (wanted.access_key, wanted.secret_key)
            ]
        except (binascii.Error, UnicodeDecodeError):
            raise ArtifactError(f"{place}: what it has is no text") from None
        missing = [
            word
            for word, key, value in zip(
                ("access key", "secret key"), (wanted.access_key, True), keys, strict=True
            )
            if key and not value
        ]
        if missing:
            raise ArtifactError(f"{place}: bucket credential secret has no value for: {', '.join(missing)}")
        return Credentials(*keys), f"{meta.uid(secret)}/{meta.resource_version(secret)}"


def _check_google_key(text: str, name: str) -> None:
    """Refuse a service account's key that says where to ask: a namespace's user wrote it, and this process would."""
    try:
        key = json.loads(text)
    except ValueError:
        return  # the bucket says what is wrong with it
    if isinstance(key, dict) and not _OF_EMULATORS.isdisjoint(key):
        raise ArtifactError(
            f'secret "{name}": {" and ".join(sorted(_OF_EMULATORS))} of a service account\'s key are not followed by'
            " this server"
        )
