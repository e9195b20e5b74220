"""Build and wire the parts of training: what `proa up` and `proa training serve` both start.

Definitions are there before anybody is told that the cluster is ready. Each of the three parts begins with the first
object of its kinds, knows the others by their objects alone, and may be left out.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

from proa.ml.area import Opened, Part
from proa.ml.training.kinds import JOB_SETS, PYTORCH_JOBS, TRAIN_JOBS

ACCOUNT = "training-operator"
_HERE = Path(__file__).parent


async def _open_jobset(stack: AsyncExitStack) -> Opened:
    from proa.ml.training.jobset.controllers import CONTROLLERS

    return Opened(CONTROLLERS)


async def _open_trainjob(stack: AsyncExitStack) -> Opened:
    from proa.ml.training.trainjob.controllers import CONTROLLERS

    return Opened(CONTROLLERS)


async def _open_pytorchjob(stack: AsyncExitStack) -> Opened:
    from proa.ml.training.pytorchjob.controller import PyTorchJobController

    return Opened((PyTorchJobController(),))


def _files_of(part: str) -> tuple[Path, ...]:
    return tuple(sorted((_HERE / part).glob("*.yaml")))


PARTS = (
    Part("jobset", _files_of("jobset"), (JOB_SETS,), _open_jobset),
    Part("trainjob", _files_of("trainjob"), (TRAIN_JOBS,), _open_trainjob),
    Part("pytorchjob", _files_of("pytorchjob"), (PYTORCH_JOBS,), _open_pytorchjob),
)


def make_parts(without: Collection[str] = ()) -> list[Part]:
    """Return what there is to run, but for the parts named in `without`."""
    return [part for part in PARTS if part.name not in without]
