"""Map well-known Python images to `proa.local/python`, this machine's own Python environment.

Each use is an Event; the kubelet's setting `image_aliases` overrides the table.
"""

from __future__ import annotations

from collections.abc import Mapping

HOST_IMAGE = "proa.local/python"

ALIASES: Mapping[str, str] = {
    "python": HOST_IMAGE,
    "python:3": HOST_IMAGE,
    "python:3-slim": HOST_IMAGE,
    "python:latest": HOST_IMAGE,
    "python:slim": HOST_IMAGE,
    **{
        f"python:3.{minor}{suffix}": HOST_IMAGE
        for minor in range(8, 15)
        for suffix in ("", "-slim", "-bookworm")
    },
}
"""Short names, without registry and `library/`; see docs/compatibility.md."""

_DOCKER_PREFIXES = ("docker.io/library/", "docker.io/", "index.docker.io/library/", "library/")


def find_alias(wanted: str, aliases: Mapping[str, str]) -> str:
    """Return the image that `wanted` stands for, "" when it is no alias."""
    if wanted in aliases:
        return aliases[wanted]
    for prefix in _DOCKER_PREFIXES:
        if wanted.startswith(prefix) and wanted.removeprefix(prefix) in aliases:
            return aliases[wanted.removeprefix(prefix)]
    return ""
