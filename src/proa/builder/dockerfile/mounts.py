"""Read what `RUN --mount=…` asks for: type=bind, cache, tmpfs or secret, with the options that each of them has.

Options and defaults: BuildKit's frontend/dockerfile/instructions/commands_runmount.go. ssh is refused: no agent is
passed on.
"""

from __future__ import annotations

import csv
import posixpath
import re
from dataclasses import dataclass

from proa.builder.dockerfile.errors import DockerfileError, did_you_mean

_OPTIONS = {
    "bind": ("target", "source", "from", "rw"),
    "cache": ("target", "source", "from", "rw", "id", "sharing", "mode", "uid", "gid"),
    "tmpfs": ("target", "size"),
    "secret": ("target", "id", "required", "mode", "uid", "gid", "env"),
}
_OTHER_NAMES = {"dst": "target", "destination": "target", "src": "source"}
_SIZES = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kb": 1 << 10,
    "m": 1 << 20,
    "mb": 1 << 20,
    "g": 1 << 30,
    "gb": 1 << 30,
}


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a RUN step. `read_only` None is the type's own default; numbers are -1 where nothing is asked."""

    type: str
    target: str
    source: str = ""
    source_stage: str = ""
    id: str = ""
    read_only: bool = False
    required: bool = False
    sharing: str = "shared"
    mode: int = -1
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    env: str = ""


def parse_mount(text: str, line: int) -> Mount:
    """Return the mount; raise DockerfileError with what its type knows."""
    given = _fields(text, line)
    kind = given.pop("type", "bind")
    if kind == "ssh":
        raise DockerfileError(line, "--mount=type=ssh is not supported: use --mount=type=secret for a key")
    if kind not in _OPTIONS:
        raise DockerfileError(
            line,
            f'unsupported mount type "{kind}"{did_you_mean(kind, list(_OPTIONS))}; there are {", ".join(_OPTIONS)}',
        )
    options = dict(given)
    if "ro" in options:
        options["rw"] = "false" if _truth(options.pop("ro"), "ro", line) else "true"
    for name in options:
        if name not in _OPTIONS[kind]:
            has = ", ".join(_OPTIONS[kind])
            raise DockerfileError(line, f"unexpected key '{name}' for mount type '{kind}'; it has {has}")
    target = options.get("target", "")
    identifier = options.get("id", "")
    if kind == "secret":
        identifier = identifier or posixpath.basename(target)
        if not identifier:
            raise DockerfileError(line, "a secret mount needs id= or target=")
        target = target or ("" if options.get("env") else f"/run/secrets/{identifier}")
    elif not target:
        raise DockerfileError(line, f'--mount=type={kind} needs target=, the path inside: "{text}"')
    sharing = options.get("sharing", "shared")
    if sharing not in ("shared", "private", "locked"):
        raise DockerfileError(line, f'unsupported sharing value "{sharing}": shared, private or locked')
    writes = _truth(options.get("rw", "true" if kind == "cache" else "false"), "rw", line)
    return Mount(
        kind,
        target,
        source=options.get("source", ""),
        source_stage=options.get("from", ""),
        id=identifier,
        read_only=kind in ("bind", "cache", "secret") and not writes,
        required=_truth(options.get("required", "false"), "required", line),
        sharing=sharing,
        mode=_mode(options.get("mode", ""), line),
        uid=_number(options.get("uid", "0"), "uid", line),
        gid=_number(options.get("gid", "0"), "gid", line),
        size_bytes=_size(options.get("size", ""), line),
        env=options.get("env", ""),
    )


def _fields(text: str, line: int) -> dict[str, str]:
    try:
        (fields,) = csv.reader([text], strict=True)
    except (ValueError, csv.Error):
        raise DockerfileError(line, f'--mount: cannot be read: "{text}"') from None
    given: dict[str, str] = {}
    for part in fields:
        name, equals, value = part.partition("=")
        name = _OTHER_NAMES.get(name.strip().lower(), name.strip().lower())
        if name in ("readonly", "ro"):
            given["ro"] = value if equals else "true"
        elif name in ("readwrite", "rw"):
            given["rw"] = value if equals else "true"
        elif name == "required" and not equals:
            given[name] = "true"
        elif not equals:
            raise DockerfileError(line, f"--mount: invalid field '{part}' must be a key=value pair")
        else:
            given[name] = value
    return given


def _truth(value: str, name: str, line: int) -> bool:
    if value.lower() in ("true", "1", "t"):
        return True
    if value.lower() in ("false", "0", "f"):
        return False
    raise DockerfileError(line, f"--mount: invalid value for {name}: {value}")


def _mode(value: str, line: int) -> int:
    if not value:
        return -1
    if not re.fullmatch(r"0?[0-7]{1,4}", value):
        raise DockerfileError(line, f"--mount: invalid value {value} for mode: an octal number such as 0755")
    return int(value, 8)


def _number(value: str, name: str, line: int) -> int:
    if not value.isdigit() or int(value) >= 1 << 32:
        raise DockerfileError(line, f"--mount: invalid value {value} for {name}: a number")
    return int(value)


def _size(value: str, line: int) -> int:
    match = re.fullmatch(r"(\d+)([a-z]*)", value.lower())
    if value and (match is None or match[2] not in _SIZES):
        raise DockerfileError(line, f"--mount: invalid value {value} for size: for example 64m")
    return int(match[1]) * _SIZES[match[2]] if match else 0
