"""Find whom copied files are to belong to, by name in a stage's own /etc/passwd and /etc/group.

Rules: BuildKit's solver/llbsolver/file/user_linux.go and moby/sys/user.
"""

from __future__ import annotations

import os

from proa.node.noded import linux

_MAX_BYTES = 4 << 20
_MAX_ID = (1 << 31) - 1


class NoSuchUser(Exception):
    """A user or group is not there by that name."""


def find_owner(root: int, text: str) -> tuple[int, int]:
    """Return (uid, gid) of whom copied files are to be: without a group, a number is both."""
    name, colon, group = text.partition(":")
    if name.isdigit():
        uid = gid = _number(name, "user")
    else:
        entry = _find(root, "/etc/passwd", name, number_at=2)
        if entry is None:
            raise NoSuchUser(f"unable to find user {name}: no such user in the stage's /etc/passwd")
        uid, gid = int(entry[2]), int(entry[3])
    return uid, _group(root, group) if colon and group else gid


def _group(root: int, text: str) -> int:
    entry = None if text.isdigit() else _find(root, "/etc/group", text, number_at=2)
    return int(entry[2]) if entry else _number(text, "group")


def _number(text: str, what: str) -> int:
    if not text.isdigit() or int(text) > _MAX_ID:
        raise NoSuchUser(f"unable to find {what} {text}: there is none of that name in the stage")
    return int(text)


def _find(root: int, path: str, wanted: str, *, number_at: int) -> list[str] | None:
    for fields in _lines(root, path):
        if (
            len(fields) > number_at
            and fields[number_at].isdigit()
            and wanted in (fields[0], fields[number_at])
        ):
            return fields
    return None


def _lines(root: int, path: str) -> list[list[str]]:
    try:
        opened = linux.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    with os.fdopen(opened, "rb") as file:
        return [line.split(":") for line in file.read(_MAX_BYTES).decode("utf-8", "replace").splitlines()]
