"""Map well-known Python images to `proa.local/python`, this machine's own Python environment.

Each use is an Event, which says so when another version of Python was asked for; the kubelet's setting `image_aliases`
overrides the table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache

HOST_IMAGE = "proa.local/python"
TORCH_IMAGE = "pytorch/pytorch"
"""Any tag of it is an alias where torch can be imported, and only there."""

_MINORS = range(7, 15)
_SUFFIXES = ("", "-slim", "-bookworm", "-slim-bookworm", "-trixie", "-slim-trixie")

ALIASES: Mapping[str, str] = {
    "python": HOST_IMAGE,
    "python:3": HOST_IMAGE,
    "python:3-slim": HOST_IMAGE,
    "python:latest": HOST_IMAGE,
    "python:slim": HOST_IMAGE,
    **{f"python:3.{minor}{suffix}": HOST_IMAGE for minor in _MINORS for suffix in _SUFFIXES},
    TORCH_IMAGE: HOST_IMAGE,
    **{
        f"registry.access.redhat.com/{system}/python-3{minor}{tag}": HOST_IMAGE
        for system in ("ubi8", "ubi9", "ubi10")
        for minor in _MINORS
        for tag in ("", ":latest")
    },
}
"""Short names, without registry and `library/`, and without a patch version; see docs/compatibility.md.

The images of Red Hat are what Kubeflow Pipelines' own samples name, PyTorch's what Kubeflow Trainer's runtimes do.
"""

_PREFIXES = (
    "docker.io/library/",
    "docker.io/",
    "index.docker.io/library/",
    "library/",
    "public.ecr.aws/docker/library/",
)
_PATCH = re.compile(r"(:3\.[0-9]+)\.[0-9]+(?=-|\Z)")
_MINOR = re.compile(r":3\.([0-9]+)|/python-3([0-9]+)(?=:|\Z)")


def find_alias(wanted: str, aliases: Mapping[str, str], *, with_torch: bool | None = None) -> str:
    """Return the image that `wanted` stands for, "" when it is no alias; `with_torch` None is to look for PyTorch."""
    short = next((wanted.removeprefix(prefix) for prefix in _PREFIXES if wanted.startswith(prefix)), wanted)
    names = [wanted, short, _PATCH.sub(r"\1", short)]
    if short.partition(":")[0] == TORCH_IMAGE and "@" not in short:
        is_there = has_torch() if with_torch is None else with_torch
        names = [wanted, TORCH_IMAGE] if is_there else [wanted] if ":" in wanted else []
    return next((aliases[name] for name in names if name in aliases), "")


@cache
def has_torch() -> bool:
    """Tell whether this node's own Python environment has PyTorch."""
    from importlib.util import find_spec

    return find_spec("torch") is not None


def describe_alias(wanted: str, alias: str) -> str:
    """Return what an Event says of an alias that was used."""
    told = f'Image "{wanted}" stands for "{alias}", this node\'s own Python environment (an image alias)'
    if TORCH_IMAGE in wanted and alias == HOST_IMAGE:
        from importlib.metadata import version as version_of

        return f"{told}: it has PyTorch {version_of('torch')}"
    found = _MINOR.search(wanted)
    version = f"3.{found[1] or found[2]}" if found else ""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not version or version == here or alias != HOST_IMAGE:
        return told
    return (
        f"{told}: it is Python {here}, not {version}. Where that matters, turn the alias off (image_aliases)"
    )
