"""Read a format's settings: flags and environment variables that upstream's servers have, as words."""

from __future__ import annotations

from collections.abc import Mapping

from proa.ml.serving.server.formats.protocol import ModelError

_TRUE, _FALSE = {"", "1", "true", "t", "yes", "y", "on"}, {"0", "false", "f", "no", "n", "off"}


def is_on(settings: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a switch: `--name` or `--name=true` is on."""
    word = settings.get(name)
    if word is None:
        return default
    if word.lower() in _TRUE:
        return True
    if word.lower() in _FALSE:
        return False
    raise ModelError(f"--{name}={word}: expected true or false")


def find_number(settings: Mapping[str, str], name: str) -> int | None:
    """Return a whole number above 0, or None where it is not set."""
    word = settings.get(name)
    if word is None:
        return None
    if not word.isdecimal() or not int(word):
        raise ModelError(f"--{name}={word}: expected a whole number above 0")
    return int(word)
