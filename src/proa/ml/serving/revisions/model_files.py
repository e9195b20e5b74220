"""Have a model's files where a component's containers look for them: init container, volumes and mounts. Pure.

A claim (pvc://) and an image (oci://) are mounted. All else is fetched by the init container `storage-initializer` into
a store: the namespace's folder of the node's cache where there is one and hostPaths may be mounted, else an emptyDir.
What was fetched for a revision is there as plain files, of which containers see just theirs, read-only.

Source: KServe's pkg/webhook/admission/pod/storage_initializer_injector.go and pkg/utils/storage.go.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from proa.ml.serving.kinds import INITIALIZER_CONTAINER, MODELS_FOLDER
from proa.objects import meta

Object = dict[str, Any]

HOST_IMAGE = "proa.local/python"
STORE = "/mnt/store"
"""Where the init container has the store."""
SOURCES = "/mnt/sources"
"""Where it has folders of the node (file://) below."""
COMPLETE = "complete"
"""In a revision's folder of the store, once all its files are there."""
VOLUME, CLAIM_VOLUME, STORE_VOLUME = "kserve-provision-location", "kserve-pvc-source", "kserve-model-store"
READ_ONLY = "storage.kserve.io/readonly"
SHA256 = "storage.proa.local/sha256"
"""The annotation that says what a single file's or archive's digest must be."""
FETCHED = (
    "http",
    "https",
    "s3",
    "gs",
    "hf",
    "git",
    "git+https",
    "git+http",
    "mlflow",
    "file",
    "oci+fetch",
    "az",
    "abfs",
    "abfss",
)
MOUNTED = ("pvc", "oci", "oci+native", "oci+modelcar")
ABOUT_STORAGE = re.compile(
    r"AWS_\w+|S3_\w+|GOOGLE_\w+|AZURE_\w+|HF_(TOKEN|ENDPOINT)|MLFLOW_TRACKING_\w+|GIT_(USERNAME|PASSWORD)"
    r"|STORAGE_(ALLOW|IGNORE)_PATTERNS|(https?|no)_proxy|(HTTPS?|NO)_PROXY"
)
_DIGEST = re.compile(r"#sha256[=:](.*)$")
_POD_SECURITY = "pod-security.kubernetes.io/enforce"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
MAX_SOURCES, MAX_URI = 16, 2048


class InvalidStorage(ValueError):
    """What a model's storage says cannot be carried out: the message names it, and what would work."""


class Source(NamedTuple):
    """A URI, and the folder at which containers see its files."""

    uri: str
    path: str = MODELS_FOLDER


class StorageSettings(NamedTuple):
    """What the operator's place in the world, and the ConfigMap inferenceservice-config, say of all models."""

    image: str = HOST_IMAGE
    """Has `proa[serve]`, with a `python3` on its PATH."""
    cache: str = ""
    """The nodes' folder that models are kept in, a folder a namespace; "" for none."""
    cache_bytes: int = 50 << 30
    """How much a namespace's cache may hold before what no revision uses goes."""
    model_bytes: int = 200 << 30
    """How large one model may be."""
    oci_mode: str = "native"
    """What oci:// means: "native" (an image volume) or "fetch" (its layers are pulled into the store)."""
    requests: Mapping[str, str] = {"cpu": "10m", "memory": "32Mi"}
    limits: Mapping[str, str] = {}
    ca_config_map: str = ""
    """A ConfigMap of the namespace with cabundle.crt, which all downloads trust as well."""
    ca_folder: str = "/etc/ssl/custom-certs"


class Access(NamedTuple):
    """What lets the init container in: see `credentials.py`. It is for this container only."""

    env: Sequence[Object] = ()
    volumes: Sequence[Object] = ()
    mounts: Sequence[Object] = ()
    hint: str = ""
    """Which service account and secrets these are of, for whoever reads that access was denied."""


class ModelFiles(NamedTuple):
    """What a pod gets: its spec's initContainers and volumes, and volumeMounts of each container that has the model.

    `containers` run beside the server: there are some where it serves many models, each in a folder of its own.
    """

    init_containers: tuple[Object, ...] = ()
    volumes: tuple[Object, ...] = ()
    mounts: tuple[Object, ...] = ()
    containers: tuple[Object, ...] = ()


def make_model_files(
    sources: Sequence[Source],
    settings: StorageSettings,
    *,
    revision: str,
    uid: str,
    namespace: Object,
    annotations: Mapping[str, str],
    access: Access = Access(),  # noqa: B008  frozen
    env: Sequence[Object] = (),
) -> ModelFiles:
    """Return what pods of a revision need; raise InvalidStorage.

    `revision` and the InferenceService's `uid` name the files in the store: what they name is fetched once a store.
    `namespace` is the Namespace object, `annotations` the component's; of `env`, the model's container's, what is about
    storage (`ABOUT_STORAGE`) counts for its download too.
    """
    _check(sources)
    read_only = annotations.get(READ_ONLY) != "false"
    fetched = [one for one in sources if not _is_mounted(one.uri, settings)]
    volumes, mounts = _mount_all(
        [one for one in sources if _is_mounted(one.uri, settings)], read_only, len(sources)
    )
    if not fetched:
        return ModelFiles((), tuple(volumes), tuple(mounts))
    on_node = may_mount_host_paths(namespace)
    is_cached = bool(settings.cache) and read_only and on_node
    folder = f"revisions/{uid}/{revision}"
    volumes.append(_store_volume(settings, meta.name(namespace), is_cached))
    mounts.append(_mount(STORE_VOLUME, _common_path(fetched), f"{folder}/files", read_only))
    known = {one["name"] for one in access.env}
    asked = [one for one in env if ABOUT_STORAGE.fullmatch(one["name"]) and one["name"] not in known]
    access = access._replace(env=(*access.env, *asked))
    container, more = _initializer(
        fetched, settings, folder, is_cached, on_node, annotations.get(SHA256, ""), access
    )
    return ModelFiles((container,), (*volumes, *more), tuple(mounts))


def may_mount_host_paths(namespace: Object) -> bool:
    """Return whether the namespace's pod security lets pods mount folders of the node."""
    return meta.labels(namespace).get(_POD_SECURITY, "privileged") == "privileged"


def check_uri(uri: str) -> None:
    """Raise InvalidStorage unless this is a URI of a scheme that is served."""
    scheme, separator, rest = uri.partition("://")
    if len(uri) > MAX_URI or not uri.isprintable() or " " in uri:
        raise InvalidStorage(f"storageUri {uri[:80]!r}: at most {MAX_URI} printable characters, no spaces")
    if not separator or scheme not in (*FETCHED, *MOUNTED):
        known = ", ".join(f"{one}://" for one in (*MOUNTED[:2], *FETCHED))
        raise InvalidStorage(
            f"storageUri, not supported: supported prefixes are {known}; storageUri is {uri!r}"
        )
    if not rest.strip("/"):
        raise InvalidStorage(f"storageUri {uri!r} names nothing after {scheme}://")
    if (digest := _DIGEST.search(uri)) and not re.fullmatch(r"[0-9a-fA-F]{64}", digest[1]):
        raise InvalidStorage(f"storageUri {uri!r}: {digest[1]!r} is no SHA-256 of 64 hexadecimal digits")
    if scheme == "pvc":
        parse_claim(uri)


def parse_claim(uri: str) -> tuple[str, str]:
    """Return the claim's name and the path in it, of pvc://NAME/path; raise InvalidStorage."""
    name, _, path = uri.removeprefix("pvc://").partition("/")
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise InvalidStorage(
            f"storageUri {uri!r}: {name!r} is no name of a claim; use pvc://NAME/path/to/the/model"
        )
    if ".." in path.split("/"):
        raise InvalidStorage(f"storageUri {uri!r}: the path must not contain '..'")
    return name, path.strip("/")


def _check(sources: Sequence[Source]) -> None:
    if len(sources) > MAX_SOURCES:
        raise InvalidStorage(f"storageUris: at most {MAX_SOURCES}, {len(sources)} are given")
    for uri, path in sources:
        check_uri(uri)
        if not path.startswith("/") or path.strip("/") == "":
            raise InvalidStorage(f"storage path must be absolute: {path}")
        if ".." in path:
            raise InvalidStorage(f"storage path cannot contain '..' for security reasons: {path}")
    if len(sources) > 1 and len({path.rstrip("/") for _, path in sources}) < len(sources):
        raise InvalidStorage("storageUris: each needs a mountPath of its own")
    if len(sources) > 1 and _common_path(sources) == "/":
        paths = " ".join(path for _, path in sources)
        words = f"storage paths must have a common parent directory. Current paths: [{paths}]"
        raise InvalidStorage(f"{words} have no common parent beyond root")


def _is_mounted(uri: str, settings: StorageSettings) -> bool:
    scheme = uri.partition("://")[0]
    return scheme in MOUNTED and not (scheme == "oci" and settings.oci_mode == "fetch")


def _mount_all(sources: Sequence[Source], read_only: bool, count: int) -> tuple[list[Object], list[Object]]:
    volumes, mounts = [], []
    for uri, path in sources:
        if uri.startswith("pvc://"):
            name, inside = parse_claim(uri)
            volume = CLAIM_VOLUME if count == 1 else _name_of(path)
            volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": name}})
            mounts.append(_mount(volume, path, inside, read_only))
        else:
            volume, reference = _name_of(path), uri.partition("://")[2]
            volumes.append({"name": volume, "image": {"reference": reference, "pullPolicy": "IfNotPresent"}})
            mounts.append(_mount(volume, path, "models", True))
    return volumes, mounts


def _store_volume(settings: StorageSettings, namespace: str, is_cached: bool) -> Object:
    if not is_cached:
        return {"name": STORE_VOLUME, "emptyDir": {}}
    path = posixpath.join(settings.cache, namespace)
    return {"name": STORE_VOLUME, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}


def _initializer(
    sources: Sequence[Source],
    settings: StorageSettings,
    folder: str,
    is_cached: bool,
    on_node: bool,
    sha256: str,
    access: Access,
) -> tuple[Object, list[Object]]:
    """Return the init container, and the volumes that are its own."""
    volumes, mounts = list(access.volumes), [_mount(STORE_VOLUME, STORE, "", False), *access.mounts]
    env = list(access.env)
    pairs: list[str] = []
    for index, (uri, path) in enumerate(sources):
        if uri.startswith("file://") and on_node:
            name = f"kserve-source-{index}"
            volumes.append({"name": name, "hostPath": {"path": _local_path(uri)}})
            mounts.append(_mount(name, f"{SOURCES}/{index}/{posixpath.basename(_local_path(uri))}", "", True))
        pairs += [_quoted(uri), posixpath.relpath(path, _common_path(sources))]
    if settings.ca_config_map:
        volumes.append({"name": "cabundle-cert", "configMap": {"name": settings.ca_config_map}})
        mounts.append(_mount("cabundle-cert", settings.ca_folder, "", True))
        env += [
            {"name": "CA_BUNDLE_CONFIGMAP_NAME", "value": settings.ca_config_map},
            {"name": "CA_BUNDLE_VOLUME_MOUNT_POINT", "value": settings.ca_folder},
        ]
    program = [
        "python3",
        "-m",
        "proa.ml.serving.storage",
        "--store",
        STORE,
        "--revision",
        folder.partition("/")[2],
    ]
    program += ["--limit", str(settings.model_bytes), "--keep", str(settings.cache_bytes)]
    program += ["--sources", SOURCES] if on_node else []
    program += ["--sha256", _quoted(sha256)] if sha256 else []
    program += ["--access", _quoted(access.hint)] if access.hint else []
    there = f"{STORE}/{folder}/{COMPLETE}"
    container: Object = {
        "name": INITIALIZER_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", '[ -f "$0" ] || exec "$@"', there, *program, "--", *pairs],
        "env": env,
        "volumeMounts": mounts,
        "resources": {
            "requests": dict(settings.requests),
            **({"limits": dict(settings.limits)} if settings.limits else {}),
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": SECURITY | (_AS_OWNER if is_cached else {}),
    }
    return container, volumes


SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_AS_OWNER: Object = {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False}
"""Whoever the server runs as: what is in a node's cache belongs to one user, and all may read it."""


def _local_path(uri: str) -> str:
    path = unquote(_DIGEST.sub("", uri).removeprefix("file://"))
    if ".." in path.split("/"):
        raise InvalidStorage(f"storageUri {uri!r}: the path must not contain '..'")
    return posixpath.normpath("/" + path.lstrip("/"))


def _common_path(sources: Sequence[Source]) -> str:
    return posixpath.commonpath([path.rstrip("/") for _, path in sources])


def _mount(volume: str, path: str, sub_path: str, read_only: bool) -> Object:
    mount: Object = {"name": volume, "mountPath": path}
    if sub_path:
        mount["subPath"] = sub_path
    if read_only:
        mount["readOnly"] = True
    return mount


def _name_of(path: str) -> str:
    """Return a volume's name for a path, as upstream's GetVolumeNameFromPath; of characters that names may have."""
    return re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[:63].rstrip("-") or "model"


def _quoted(word: str) -> str:
    """Return a word of a command that Kubernetes leaves as it is: $(NAME) is a variable's value there."""
    return word.replace("$(", "$$(")
