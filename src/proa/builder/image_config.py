"""Keep an image's configuration (image-spec, config.md) as instructions change it. Pure: each change returns a new one.

Healthcheck, OnBuild and Shell are Docker's additions to it. What each instruction does follows BuildKit's
frontend/dockerfile/dockerfile2llb/convert.go.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Mapping, Sequence
from typing import Any

Config = dict[str, Any]
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


def empty(platform: str) -> Config:
    """Return what `FROM scratch` begins with."""
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    found: Config = {"architecture": architecture, "os": system}
    if variant:
        found["variant"] = variant
    return {**found, "config": {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}, "history": []}


class BadConfig(Exception):
    """An image's configuration is not what one should be."""


def check(config: Mapping[str, Any]) -> None:
    """Raise BadConfig where an image that others made cannot be built on."""
    inner, history = config.get("config"), config.get("history")
    if not isinstance(inner, dict | None) or not isinstance(history, list | None):
        raise BadConfig("its configuration has parts of another form than they should have")
    for name in ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"):
        value = (inner or {}).get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise BadConfig(f"its configuration has a {name} that is no list of words")
    for name, kind in (
        ("WorkingDir", str),
        ("User", str),
        ("Labels", dict),
        ("ExposedPorts", dict),
        ("Volumes", dict),
    ):
        if not isinstance((inner or {}).get(name), kind | None):
            raise BadConfig(f"its configuration has a {name} of another form than it should have")


def based_on(config: Mapping[str, Any]) -> Config:
    """Return what an image's configuration hands on to what is built on it."""
    kept = {
        key: config[key] for key in ("architecture", "os", "variant", "os.version", "author") if key in config
    }
    inner = {key: value for key, value in (config.get("config") or {}).items() if value is not None}
    inner.pop("OnBuild", None)
    if not any(entry.startswith("PATH=") for entry in inner.get("Env") or ()):
        inner["Env"] = [f"PATH={DEFAULT_PATH}", *(inner.get("Env") or ())]
    return {**kept, "config": inner, "history": list(config.get("history") or ())}


def setting(config: Config, name: str, value: object) -> Config:
    """Return it with one setting of what runs in it; None takes the setting away."""
    inner = {key: old for key, old in config["config"].items() if key != name}
    if value is not None:
        inner[name] = value
    return {**config, "config": inner}


def get(config: Config, name: str) -> Any:
    """Return a setting, None without."""
    return config["config"].get(name)


def environment(config: Config) -> dict[str, str]:
    """Return the variables that it sets."""
    pairs = (entry.partition("=") for entry in get(config, "Env") or ())
    return {name: value for name, _, value in pairs}


def with_environment(config: Config, pairs: Sequence[tuple[str, str]]) -> Config:
    """Return it with variables set; those that were there keep their place."""
    found = environment(config) | dict(pairs)
    return setting(config, "Env", [f"{name}={value}" for name, value in found.items()])


def shell(config: Config) -> tuple[str, ...]:
    """Return the words before a command in shell form."""
    return tuple(get(config, "Shell") or DEFAULT_SHELL)


def with_command(config: Config, words: Sequence[str], *, is_shell: bool) -> Config:
    """Return it with CMD."""
    return setting(config, "Cmd", [*shell(config), *words] if is_shell else list(words))


def with_entrypoint(config: Config, words: Sequence[str], *, is_shell: bool, keep_command: bool) -> Config:
    """Return it with ENTRYPOINT; a CMD that came from the base image goes."""
    found = setting(config, "Entrypoint", [*shell(config), *words] if is_shell else list(words) or None)
    return found if keep_command else setting(found, "Cmd", None)


def with_labels(config: Config, pairs: Sequence[tuple[str, str]]) -> Config:
    """Return it with labels."""
    return setting(config, "Labels", {**(get(config, "Labels") or {}), **dict(pairs)})


def with_ports(config: Config, ports: Sequence[str]) -> Config:
    """Return it with ports (`80/tcp`)."""
    return setting(
        config, "ExposedPorts", {**(get(config, "ExposedPorts") or {}), **{port: {} for port in ports}}
    )


def with_volumes(config: Config, paths: Sequence[str]) -> Config:
    """Return it with volumes."""
    return setting(config, "Volumes", {**(get(config, "Volumes") or {}), **{path: {} for path in paths}})


def working_directory(config: Config, path: str = "") -> str:
    """Return the folder that a relative path begins at, or where such a path leads, without links being looked at."""
    base = get(config, "WorkingDir") or "/"
    return posixpath.normpath(posixpath.join("/", base, path))


def with_history(config: Config, created_by: str, created: str, *, is_empty: bool) -> Config:
    """Return it with another line of history; every line that is not empty stands for a layer."""
    line: dict[str, Any] = {"created": created, "created_by": created_by, "comment": "proa build"}
    if is_empty:
        line["empty_layer"] = True
    return {**config, "history": [*config["history"], line]}


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 says them."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}Z" if seconds == int(seconds) else f"{whole}.{int(seconds % 1 * 1_000_000):06d}Z"


def parse_ports(words: Sequence[str]) -> list[str]:
    """Return ports as the configuration has them (`80` is `80/tcp`, `8000-8002` are three); raise ValueError."""
    found: list[str] = []
    for word in words:
        numbers, _, protocol = word.partition("/")
        protocol = protocol.lower() or "tcp"
        first, dash, last = numbers.rpartition(":")[2].partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"invalid containerPort: {word}")
        start, end = int(first), int(last or first)
        if protocol not in ("tcp", "udp", "sctp"):
            raise ValueError(f"invalid proto: {protocol}")
        if not 0 <= start <= end <= 65535:
            raise ValueError(f"invalid containerPort: {word}")
        found += [f"{port}/{protocol}" for port in range(start, end + 1)]
    return found
