"""What an administrator, an algorithm and the cluster say about how collectors are put into pods."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

import proa
from proa.objects.quick_dataclass import dataclass

HOST_IMAGE = "proa.local/python"
COMMAND = ("python3", "-m", "proa.ml.tuning.collector")
_SOURCE = os.path.dirname(next(iter(proa.__path__)))
_FROM_SOURCE = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
try:
    from proa.ml.tuning.collector.__main__ import main
except ImportError:
    import site
    site.main()
    from proa.ml.tuning.collector.__main__ import main
main()
"""
"""Import from the folder that is the first argument, and look at site-packages only if Proa is not there."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The volume that an algorithm shares with an experiment's trials; `parent` is the trial to go on from, if any."""

    claim: str
    mount_path: str
    experiment: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the collector is run, and what its pods get besides.

    `image` has Python and Proa in it. `resources` are katib-config's for the trial's collector kind. `runtime` is the
    (Cluster)TrainingRuntime that a TrainJob names (see `trainjob.runtime_named`), None for other kinds.
    """

    image: str = HOST_IMAGE
    command: tuple[str, ...] = COMMAND
    image_pull_policy: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Checkpoints | None = None
    runtime: Mapping[str, Any] | None = None
    waits: bool = False
    """The training starts once the collector is up. Not needed where the node sees to it (noded/stop_signals.py)."""


def make_settings(image: str, **others: Any) -> Settings:
    """Return the settings for collectors that run in an image.

    The host's is this machine: the program is imported from where this process has it, compiled here, since it is
    read-only there, and starts in a third of the time. In others, which start more slowly, Proa is installed.
    """
    if image != HOST_IMAGE:
        return Settings(image, COMMAND, waits=True, **others)
    _compile()
    return Settings(image, ("python3", "-S", "-E", "-I", "-c", _FROM_SOURCE, _SOURCE), **others)


@lru_cache(maxsize=1)
def _compile() -> None:
    import compileall

    compileall.compile_dir(os.path.join(_SOURCE, "proa", "ml", "tuning", "collector"), maxlevels=0, quiet=2)
