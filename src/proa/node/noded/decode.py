"""Make the protocol's sandboxes and containers of noded's records, be they of a noded of another version."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from proa.node.runtimes.protocol import (
    Container,
    ContainerConfig,
    Mount,
    Resources,
    Sandbox,
    SandboxConfig,
    Security,
)

_Kind = TypeVar("_Kind")


def sandbox_from(record: dict[str, Any]) -> Sandbox:
    """Return the sandbox that a record describes."""
    config = dict(record["config"])
    for name in ("dns_servers", "dns_searches", "dns_options"):
        config[name] = tuple(config[name])
    config["host_aliases"] = tuple((ip, tuple(names)) for ip, names in config["host_aliases"])
    config["resources"] = _make(Resources, config.get("resources") or {})
    return _make(Sandbox, {**record, "config": _make(SandboxConfig, config)})


def container_from(record: dict[str, Any]) -> Container:
    """Return the container that a record describes."""
    config = dict(record["config"])
    security = dict(config["security"])
    for name in ("supplemental_groups", "add_capabilities", "drop_capabilities"):
        security[name] = tuple(security[name])
    config["argv"] = tuple(config["argv"])
    config["env"] = tuple((name, value) for name, value in config["env"])
    mounts = [{**mount, "layers": tuple(mount.get("layers") or ())} for mount in config["mounts"]]
    config["mounts"] = tuple(_make(Mount, mount) for mount in mounts)
    for name in ("layers", "volumes"):
        config[name] = tuple(config.get(name) or ())
    config["resources"] = _make(Resources, config["resources"])
    config["security"] = _make(Security, security)
    uid, gid, groups = record.get("user") or (0, 0, ())
    user = (uid, gid, tuple(groups)) if record.get("user") else None
    return _make(Container, {**record, "user": user, "config": _make(ContainerConfig, config)})


def _make(kind: type[_Kind], values: dict[str, Any]) -> _Kind:
    """Build a dataclass from a record, fields that this version does not know left out."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in known})
