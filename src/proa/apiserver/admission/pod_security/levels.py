"""Know which Pod Security level and version a namespace asks for, in each of its modes (pod-security-admission/api)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.objects.errors import Cause
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import invalid

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
"""From lax to strict."""
LATEST = 1 << 30
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class LevelVersion:
    """A level as of a minor version of Kubernetes; `LATEST` is newer than any."""

    level: str = "privileged"
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What is refused, what is noted in the audit log, and what is warned about."""

    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()

    @property
    def is_privileged(self) -> bool:
        """Tell whether no mode asks for anything."""
        return self.enforce.level == self.audit.level == self.warn.level == "privileged"


def is_stricter(level: str, other: str) -> bool:
    """Tell whether `level` forbids more than `other`."""
    return LEVELS.index(level) > LEVELS.index(other)


def read_policy(labels: Mapping[str, str]) -> tuple[Policy, list[Cause]]:
    """Return the policy of a namespace with these labels, and what is wrong with them.

    A level that cannot be read is enforced as restricted, and neither audited nor warned about. Where only `enforce`
    is set, it is warned about too, so that makers of workloads hear of it.
    """
    causes: list[Cause] = []
    enforce = _read_mode(labels, "enforce", "restricted", causes)
    audit = _read_mode(labels, "audit", "privileged", causes)
    warn = _read_mode(labels, "warn", "privileged", causes)
    said = labels.get(f"{PREFIX}enforce")
    if f"{PREFIX}warn" not in labels and said in LEVELS and is_stricter(enforce.level, warn.level):
        has_version = f"{PREFIX}warn-version" in labels
        warn = LevelVersion(enforce.level, warn.minor if has_version else enforce.minor)
    return Policy(enforce, audit, warn), causes


def _read_mode(labels: Mapping[str, str], mode: str, fallback: str, causes: list[Cause]) -> LevelVersion:
    label = f"{PREFIX}{mode}"
    level = labels.get(label, "privileged")
    if level not in LEVELS:
        causes.append(invalid(f"metadata.labels[{label}]", level, f"must be one of {', '.join(LEVELS)}"))
        level = fallback
    label += "-version"
    version = labels.get(label, "latest")
    match = _VERSION.fullmatch(version)
    if match is None and version != "latest":
        causes.append(invalid(f"metadata.labels[{label}]", version, 'must be "latest" or "v1.x"'))
    return LevelVersion(level, int(match[1]) if match else LATEST)
