"""Say which files a configMap, secret or downwardAPI volume holds.

Pure but for the look-ups it is given. Follows pkg/volume/configmap, secret, downwardapi and projected.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable, Mapping

from proa.client.protocol import Object
from proa.node.downward import DownwardSource, FieldError, field_value, resource_value
from proa.node.environment import Lookup
from proa.node.volumes.atomic_writer import FileContent
from proa.node.volumes.errors import VolumeError
from proa.objects.errors import NotFound
from proa.objects.meta import namespace
from proa.objects.pods import containers, init_containers
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CONFIG_MAPS, SECRETS, Resource

DEFAULT_MODE = 0o644
TOKEN_MODE = 0o600

Payload = dict[str, FileContent]
ObjectKey = tuple[Resource, str, str]
"""The resource, namespace and name of a ConfigMap or Secret that a volume shows."""


@dataclass(frozen=True, slots=True)
class Token:
    """A service account's token, and when (epoch seconds) a new one is to be asked for."""

    value: str
    refresh_at: float


RequestToken = Callable[[Object, Mapping[str, object]], Awaitable[Token]]
"""Return a token for (pod, serviceAccountToken projection); raise ApiError."""


@dataclass(frozen=True, slots=True)
class PayloadSource:
    """Where payloads come from."""

    lookup: Lookup
    request_token: RequestToken
    downward: DownwardSource


@dataclass(slots=True)
class Built:
    """A volume's files, and when they must be built again (inf: when their sources change)."""

    files: Payload
    refresh_at: float = float("inf")


async def build(kind: str, volume: Object, pod: Object, source: PayloadSource) -> Built:
    """Return the files of a volume of that kind; raise VolumeError."""
    mode = volume.get("defaultMode")
    default_mode = DEFAULT_MODE if mode is None else int(mode)
    if kind == "projected":
        return await _projected(volume, default_mode, pod, source)
    if kind == "downwardAPI":
        return Built(_downward(volume, default_mode, pod, source))
    resource = SECRETS if kind == "secret" else CONFIG_MAPS
    object_name = volume.get("secretName") if kind == "secret" else volume.get("name")
    return Built(await _keys(resource, str(object_name), volume, default_mode, pod, source))


async def _projected(volume: Object, default_mode: int, pod: Object, source: PayloadSource) -> Built:
    built = Built({})
    for part in volume.get("sources") or []:
        if "serviceAccountToken" in part:
            projection = part["serviceAccountToken"]
            token = await source.request_token(pod, projection)
            built.files[projection["path"]] = _token_file(token.value.encode(), default_mode, pod)
            built.refresh_at = min(built.refresh_at, token.refresh_at)
        elif "downwardAPI" in part:
            built.files |= _downward(part["downwardAPI"], default_mode, pod, source)
        elif "configMap" in part or "secret" in part:
            resource = CONFIG_MAPS if "configMap" in part else SECRETS
            chosen = part.get("configMap") or part.get("secret")
            built.files |= await _keys(resource, chosen["name"], chosen, default_mode, pod, source)
        else:
            raise VolumeError(f"this node knows no such projected source: {', '.join(part)}")
    return built


def _token_file(data: bytes, default_mode: int, pod: Object) -> FileContent:
    """Return a token's file: for the pod's user or fsGroup alone where it says so and this process may give it away."""
    user = common_user(pod)
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    if os.geteuid() != 0 or (user is None and group is None):
        return FileContent(data, default_mode)
    return FileContent(data, TOKEN_MODE, user)


def common_user(pod: Object) -> int | None:
    """Return the runAsUser of all containers, None where one has none or another (pkg/volume/util: FsUserFrom)."""
    of_pod = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = {
        (container.get("securityContext") or {}).get("runAsUser", of_pod)
        for container in (*init_containers(pod), *containers(pod))
    }
    return users.pop() if len(users) == 1 else None


async def _keys(
    resource: Resource,
    object_name: str,
    volume: Object,
    default_mode: int,
    pod: Object,
    source: PayloadSource,
) -> Payload:
    try:
        found = await source.lookup(resource, namespace(pod), object_name)
    except NotFound:
        if volume.get("optional"):
            return {}
        raise VolumeError(f'{resource.kind.lower()} "{object_name}" not found') from None
    content = _content(resource, found)
    items = volume.get("items")
    if not items:
        return {key: FileContent(data, default_mode) for key, data in content.items()}
    payload: Payload = {}
    for item in items:
        if item["key"] not in content:
            if volume.get("optional"):
                continue
            kind = "secret" if resource is SECRETS else "config"
            raise VolumeError(f"references non-existent {kind} key: {item['key']}")
        mode = item.get("mode")
        payload[item["path"]] = FileContent(content[item["key"]], default_mode if mode is None else int(mode))
    return payload


def _content(resource: Resource, found: Object) -> dict[str, bytes]:
    data = found.get("data") or {}
    if resource is SECRETS:
        return {key: base64.b64decode(value) for key, value in data.items()}
    text = {key: str(value).encode() for key, value in data.items()}
    return text | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _downward(volume: Object, default_mode: int, pod: Object, source: PayloadSource) -> Payload:
    payload: Payload = {}
    for item in volume.get("items") or []:
        try:
            if "fieldRef" in item:
                text = field_value(pod, item["fieldRef"]["fieldPath"], source.downward)
            else:
                text = resource_value(pod, {"name": ""}, item["resourceFieldRef"], source.downward)
        except FieldError as error:
            raise VolumeError(str(error)) from None
        mode = item.get("mode")
        payload[item["path"]] = FileContent(text.encode(), default_mode if mode is None else int(mode))
    return payload


def sources_of(pod: Object) -> set[ObjectKey]:
    """Return the ConfigMaps and Secrets whose changes must show in the pod's volumes."""
    found: set[ObjectKey] = set()
    for volume in pod["spec"].get("volumes") or []:
        parts = (volume.get("projected") or {}).get("sources") or []
        if "configMap" in volume:
            found.add((CONFIG_MAPS, namespace(pod), volume["configMap"]["name"]))
        if "secret" in volume:
            found.add((SECRETS, namespace(pod), volume["secret"]["secretName"]))
        for part in parts:
            if "configMap" in part:
                found.add((CONFIG_MAPS, namespace(pod), part["configMap"]["name"]))
            if "secret" in part:
                found.add((SECRETS, namespace(pod), part["secret"]["name"]))
    return found
