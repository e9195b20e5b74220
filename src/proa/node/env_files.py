"""Take a variable's value from a file that an init container has left in a volume (valueFrom.fileKeyRef).

The file is written by containers: it is opened without following links, and read up to a limit. Follows
pkg/kubelet/util/env/env_util.go and pkg/kubelet/kubelet_pods.go (KEP-3721).
"""

from __future__ import annotations

import os
from pathlib import Path

FILE_LIMIT_BYTES = 64 * 1024
VALUE_LIMIT_BYTES = 32 * 1024
KEY_LIMIT = 128
_BLANKS = " \t"


class EnvFileError(ValueError):
    """The file cannot be read, or a line of it says nothing."""


def read_variable(volume: Path, path: str, key: str) -> str | None:
    """Return the key's value, None where the file does not say it; raise EnvFileError."""
    if len(key) > KEY_LIMIT:
        raise EnvFileError(
            f'environment variable key "{key}" exceeds maximum length of {KEY_LIMIT} characters'
        )
    value = find_value(_read(volume, path), key)
    if value is not None and len(value.encode()) > VALUE_LIMIT_BYTES:
        raise EnvFileError(f'environment variable value for key "{key}" exceeds maximum size of 32KB')
    return value


def _read(volume: Path, path: str) -> str:
    *folders, name = [part for part in path.split("/") if part not in ("", ".")] or [""]
    opened = [os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        for folder in folders:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            opened.append(os.open(folder, flags, dir_fd=opened[-1]))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened.append(os.open(name, flags, dir_fd=opened[-1]))
        data = os.read(opened[-1], FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise EnvFileError(f'failed to open environment variable file "{path}": {error.strerror}') from error
    finally:
        for descriptor in opened:
            os.close(descriptor)
    if len(data) > FILE_LIMIT_BYTES:
        raise EnvFileError(f'environment variable file "{path}" is longer than 64KiB')
    return data.decode(errors="surrogateescape")


def find_value(text: str, key: str) -> str | None:
    """Return what VAR='value' says of a key, None where no line says it; raise EnvFileError for a line before it."""
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        begun, line = number + 1, lines[number].lstrip(_BLANKS)
        number += 1
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        _check_name(name, equals, begun)
        if value[:1] in (" ", "\t"):
            if name == key:
                return ""
            continue
        if not value.startswith("'"):
            raise _wrong(begun, "value must be enclosed in single quotes")
        value = value[1:]
        while "'" not in value:
            if number == len(lines):
                words = f"invalid environment variable format starting at line {begun}: unclosed single quote"
                raise EnvFileError(words)
            value += "\n" + lines[number]
            number += 1
        value, _, rest = value.partition("'")
        rest = rest.lstrip(_BLANKS)
        if rest and not rest.startswith("#"):
            raise _wrong(number, "unexpected content after closing quote")
        if name == key:
            return value
    return None


def _check_name(name: str, equals: str, line: int) -> None:
    if not equals:
        raise _wrong(line, "missing '='")
    if not name.rstrip(_BLANKS):
        raise _wrong(line, "empty variable name")
    if name != name.rstrip(_BLANKS):
        raise _wrong(line, "whitespace before '=' is not allowed")


def _wrong(line: int, why: str) -> EnvFileError:
    return EnvFileError(f"invalid environment variable format at line {line}: {why}")
