"""Build a container's environment: service variables, envFrom, env, references, $(VAR) expansion.

Follows pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), pkg/kubelet/envvars/envvars.go and
third_party/forked/golang/expansion/expand.go.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import field
from ipaddress import ip_address
from pathlib import Path

from proa.client.protocol import Object
from proa.node.downward import DownwardSource, field_value, resource_value
from proa.node.env_files import EnvFileError, read_variable
from proa.objects.errors import NotFound
from proa.objects.meta import name, namespace
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CONFIG_MAPS, SECRETS, Resource

KUBERNETES_SERVICE = ("default", "kubernetes")

Lookup = Callable[[Resource, str, str], Awaitable[Object]]
"""Return the object of (resource, namespace, name); raise NotFound."""


class ConfigError(Exception):
    """The container's configuration cannot be completed: CreateContainerConfigError."""


@dataclass(slots=True)
class Environment:
    """The variables in order, and the names in envFrom sources that cannot be variables."""

    variables: dict[str, str]
    skipped: dict[str, list[str]] = field(default_factory=dict)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace each $(NAME) that is known; `$$` stands for `$`; anything else stays as it is."""
    result: list[str] = []
    position = 0
    while (start := text.find("$", position)) >= 0 and start + 1 < len(text):
        result.append(text[position:start])
        following = text[start + 1]
        if following == "$":
            result.append("$")
            position = start + 2
        elif following == "(" and (end := text.find(")", start)) > 0:
            reference = text[start + 2 : end]
            result.append(variables.get(reference, text[start : end + 1]))
            position = end + 1
        elif following == "(":
            result.append("$(")
            position = start + 2
        else:
            result.append(text[start : start + 2])
            position = start + 2
    result.append(text[position:])
    return "".join(result)


def service_variables(services: Iterable[Object], pod_namespace: str, links: bool) -> dict[str, str]:
    """Return the variables that tell a pod of the services in its namespace, and always of `kubernetes`."""
    chosen: dict[str, Object] = {}
    for service in services:
        if (service["spec"].get("clusterIP") or "None") == "None":
            continue
        place = (namespace(service), name(service))
        if (place[0] == pod_namespace and links) or (
            place == KUBERNETES_SERVICE and name(service) not in chosen
        ):
            chosen[name(service)] = service
    variables: dict[str, str] = {}
    for _, service in sorted(chosen.items()):
        variables |= _variables_of(service)
    return variables


def _variables_of(service: Object) -> dict[str, str]:
    prefix = name(service).upper().replace("-", "_")
    host = str(service["spec"]["clusterIP"])
    ports = service["spec"].get("ports") or []
    variables = {f"{prefix}_SERVICE_HOST": host}
    for index, port in enumerate(ports):
        number, protocol = port["port"], port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{_bracketed(host)}:{number}"
        if index == 0:
            variables |= {f"{prefix}_SERVICE_PORT": str(number), f"{prefix}_PORT": url}
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(number)
        link = f"{prefix}_PORT_{number}_{protocol.upper()}"
        variables |= {
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(number),
            f"{link}_ADDR": host,
        }
    return variables


def _bracketed(host: str) -> str:
    return f"[{host}]" if ip_address(host).version == 6 else host


async def make_environment(
    pod: Object,
    container: Object,
    services: Iterable[Object],
    lookup: Lookup,
    source: DownwardSource,
    volumes: Mapping[str, Path],
) -> Environment:
    """Return the container's variables; raise ConfigError in upstream's words when something is missing.

    `volumes` says where the pod's volumes are.
    """
    links = pod["spec"].get("enableServiceLinks", True) is not False
    from_services = service_variables(services, namespace(pod), links)
    environment = Environment({})
    for entry in container.get("envFrom") or []:
        await _add_all(environment, entry, namespace(pod), lookup)
    for variable in container.get("env") or []:
        if "fileKeyRef" in (variable.get("valueFrom") or {}):
            value = _value_in_file(variable["valueFrom"]["fileKeyRef"], volumes)
        else:
            value = await _value(
                variable, environment.variables, from_services, pod, container, lookup, source
            )
        if value is not None:
            environment.variables[variable["name"]] = value
    environment.variables = from_services | environment.variables
    return environment


async def _add_all(environment: Environment, entry: Object, pod_namespace: str, lookup: Lookup) -> None:
    prefix = entry.get("prefix") or ""
    is_secret = "secretRef" in entry
    reference = entry.get("secretRef") or entry.get("configMapRef") or {}
    found = await _find(lookup, SECRETS if is_secret else CONFIG_MAPS, pod_namespace, reference)
    if found is None:
        return
    for key, value in sorted((found.get("data") or {}).items()):
        variable = f"{prefix}{key}"
        if not _is_variable_name(variable):
            kind = "Secret" if is_secret else "ConfigMap"
            environment.skipped.setdefault(f"{kind} {pod_namespace}/{reference['name']}", []).append(key)
            continue
        environment.variables[variable] = decode_secret(value) if is_secret else value


def _is_variable_name(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and "=" not in text


async def _value(
    variable: Object,
    so_far: Mapping[str, str],
    from_services: Mapping[str, str],
    pod: Object,
    container: Object,
    lookup: Lookup,
    source: DownwardSource,
) -> str | None:
    """Return the variable's value, None when an optional reference leads nowhere."""
    reference = variable.get("valueFrom")
    if not reference:
        return expand(variable.get("value") or "", {**from_services, **so_far})
    if "fieldRef" in reference:
        return field_value(pod, reference["fieldRef"]["fieldPath"], source)
    if "resourceFieldRef" in reference:
        return resource_value(pod, container, reference["resourceFieldRef"], source)
    is_secret = "secretKeyRef" in reference
    key_reference = reference.get("secretKeyRef") or reference.get("configMapKeyRef")
    if key_reference is None:
        raise ConfigError(
            f'env "{variable["name"]}": this node knows no such valueFrom: {", ".join(reference)}'
        )
    found = await _find(lookup, SECRETS if is_secret else CONFIG_MAPS, namespace(pod), key_reference)
    if found is None:
        return None
    data = found.get("data") or {}
    if key_reference["key"] in data:
        value = data[key_reference["key"]]
        return decode_secret(value) if is_secret else str(value)
    if key_reference.get("optional"):
        return None
    kind = "Secret" if is_secret else "ConfigMap"
    place = f"{namespace(pod)}/{key_reference['name']}"
    raise ConfigError(f"couldn't find key {key_reference['key']} in {kind} {place}")


def _value_in_file(reference: Object, volumes: Mapping[str, Path]) -> str | None:
    """Return what a file in a volume says, None when it need not."""
    volume, key = volumes.get(reference["volumeName"]), reference["key"]
    if volume is None:
        raise ConfigError(f'cannot find the volume "{reference["volumeName"]}" referenced by FileKeyRef')
    try:
        value = read_variable(volume, reference["path"], key)
    except EnvFileError as error:
        if reference.get("optional") and isinstance(error.__cause__, FileNotFoundError):
            return None
        raise ConfigError(f"couldn't parse env file: {error}") from error
    if value is None and not reference.get("optional"):
        raise ConfigError(f'environment variable key "{key}" not found in file "{reference["path"]}"')
    return value


async def _find(lookup: Lookup, resource: Resource, pod_namespace: str, reference: Object) -> Object | None:
    try:
        return await lookup(resource, pod_namespace, reference["name"])
    except NotFound:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{resource.kind.lower()} "{reference["name"]}" not found') from None


def decode_secret(value: str) -> str:
    """Return a Secret's value as text; bytes that are not UTF-8 survive as surrogates."""
    return base64.b64decode(value).decode(errors="surrogateescape")
