"""Read a requirement (PEP 508) and hold a version (PEP 440) against it: the forms that are common, and no others.

`Unusual` is raised for the rest: URLs, extras, parentheses, `===`. Those are the real pip's.
"""

from __future__ import annotations

import os
import re
import sys

_REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*([^;@\[\]]*?)\s*(?:;\s*(.+?))?\s*\Z", re.DOTALL
)
_SPECIFIER = re.compile(r"\s*(==|!=|<=|>=|<|>|~=)\s*v?([0-9A-Za-z.+!*-]+)\s*\Z")
_VERSION = re.compile(
    r"(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)[._-]?(?:(?P<pre>a|b|rc|alpha|beta|c|pre|preview)[._-]?(?P<pre_n>\d*))?"
    r"(?:[._-]?(?:post|rev|r)[._-]?(?P<post>\d*))?(?:[._-]?dev[._-]?(?P<dev>\d*))?(?:\+(?P<local>[a-z0-9._-]+))?\Z",
    re.IGNORECASE,
)
_COMPARISON = re.compile(r"\s*([a-z_]+)\s*(==|!=|<=|>=|<|>|~=|in|not in)\s*(?:'([^']*)'|\"([^\"]*)\")\s*\Z")
_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_FINAL = ((3, 0), (0, 0), (1, 0))
"""The key's end of a release that is no candidate, no post-release and no development version."""
_VERSIONS = frozenset({"python_version", "python_full_version", "implementation_version"})

Key = tuple[int, tuple[int, ...], tuple[int, int], tuple[int, int], tuple[int, int]]


class Unusual(ValueError):
    """Not one of the forms that are read here."""


def normalize(name: str) -> str:
    """Return a project's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Requirement:
    """A project's name and what its version must be."""

    def __init__(self, text: str) -> None:
        found = _REQUIREMENT.match(text)
        if found is None:
            raise Unusual(text)
        self.text = text
        self.name = normalize(found[1])
        self.marker: str = found[3] or ""
        specifiers = found[2].strip()
        if specifiers.startswith("(") and specifiers.endswith(")"):
            specifiers = specifiers[1:-1]
        self.specifiers = [_parse_specifier(part) for part in specifiers.split(",") if part.strip()]

    def accepts(self, version: str) -> bool:
        """Tell whether a version is one of those wanted."""
        return all(_compare(version, operator, wanted) for operator, wanted in self.specifiers)

    def applies(self) -> bool:
        """Tell whether its marker holds here; one of extras does not."""
        return not self.marker or _holds(self.marker)


def parse_version(text: str) -> Key:
    """Return a version's key of comparison: (epoch, release, pre, post, dev)."""
    found = _VERSION.match(text)
    if found is None:
        raise Unusual(text)
    release = tuple(int(part) for part in found["release"].split("."))
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    is_dev = found["dev"] is not None
    pre = (_PRE[found["pre"].lower()], int(found["pre_n"] or 0)) if found["pre"] else (3, 0)
    if is_dev and not found["pre"] and found["post"] is None:
        pre = (-1, 0)
    post = (1, int(found["post"] or 0)) if found["post"] is not None else (0, 0)
    dev = (0, int(found["dev"] or 0)) if is_dev else (1, 0)
    return int(found["epoch"] or 0), release, pre, post, dev


def _parse_specifier(text: str) -> tuple[str, str]:
    found = _SPECIFIER.match(text)
    if found is None or ("*" in found[2] and found[1] not in ("==", "!=")):
        raise Unusual(text)
    if not found[2].endswith(".*"):
        parse_version(found[2])
    return found[1], found[2]


def _compare(version: str, operator: str, wanted: str) -> bool:
    if wanted.endswith(".*"):
        return (operator == "==") == _has_prefix(version, wanted[:-2])
    have, want = parse_version(version), parse_version(wanted)
    if operator == "==":
        return have == want and ("+" not in wanted or wanted == version)
    if operator == "!=":
        return have != want
    if operator == "~=":
        return have >= want and _has_prefix(version, wanted.rpartition(".")[0])
    if operator in ("<", ">"):
        if have[:2] == want[:2] and (have[2:] != _FINAL or want[2:] != _FINAL or "+" in version):
            raise Unusual(
                version
            )  # what belongs to 1.0 (its candidates, its post-releases) is neither < nor > 1.0
        return have < want if operator == "<" else have > want
    if "+" in version and have == want:
        raise Unusual(version)
    return have <= want if operator == "<=" else have >= want


def _has_prefix(version: str, prefix: str) -> bool:
    wanted = [int(part) for part in _release_of(prefix)]
    have = [int(part) for part in _release_of(version)]
    have += [0] * (len(wanted) - len(have))
    return have[: len(wanted)] == wanted


def _release_of(text: str) -> list[str]:
    found = _VERSION.match(text)
    if found is None:
        raise Unusual(text)
    release: str = found["release"]
    return release.split(".")


def _holds(marker: str) -> bool:
    if "(" in marker:
        raise Unusual(marker)
    return any(
        all(_holds_one(part) for part in re.split(r"\band\b", choice))
        for choice in re.split(r"\bor\b", marker)
    )


def _holds_one(text: str) -> bool:
    found = _COMPARISON.match(text)
    if found is None:
        raise Unusual(text)
    name, operator, wanted = found[1], found[2], found[3] if found[3] is not None else found[4]
    have = _variable(name)
    if operator in ("in", "not in"):
        return (have in wanted) == (operator == "in")
    if name in _VERSIONS:
        return _compare(have, operator, wanted)
    if operator not in ("==", "!="):
        raise Unusual(text)
    return (have == wanted) == (operator == "==")


def _variable(name: str) -> str:
    simple = {
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "python_full_version": sys.version.split()[0],
        "implementation_version": sys.version.split()[0],
        "implementation_name": sys.implementation.name,
        "platform_python_implementation": {"cpython": "CPython"}.get(sys.implementation.name, ""),
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_system": "Linux",
        "platform_machine": os.uname().machine,
        "extra": "",
    }
    if name not in simple:
        raise Unusual(name)
    return simple[name]
