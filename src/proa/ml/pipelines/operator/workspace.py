"""Keep a run's workspace: a claim that its steps share, made with the run and deleted when it has succeeded.

A run that failed keeps it, as it may be retried, until its object goes (owner reference), as upstream's volume claim
templates do by default.
"""

from __future__ import annotations

from contextlib import suppress

from proa.client.protocol import Object
from proa.ml.pipelines.executor.claims import make_workspace_claim
from proa.ml.pipelines.operator.back_off import keep_trying
from proa.ml.pipelines.operator.surroundings import Surroundings
from proa.ml.pipelines.records import Run
from proa.ml.pipelines.run_objects import RUNS
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS


async def ensure_workspace(around: Surroundings, run: Run, owner: Object) -> None:
    """See that the claim is there, if the pipeline asks for one; raise StepFailed where it asks for what cannot be."""
    claim = make_workspace_claim(run, meta.make_owner_reference(owner, RUNS))
    if claim is not None:
        with suppress(AlreadyExists):
            await around.client.create(PERSISTENT_VOLUME_CLAIMS, claim, run.namespace)


async def remove_workspace(around: Surroundings, run: Run) -> None:
    """See that the claim goes."""
    claim = make_workspace_claim(run, None)
    if claim is None:
        return

    async def delete() -> None:
        with suppress(NotFound):
            await around.client.delete(PERSISTENT_VOLUME_CLAIMS, meta.name(claim), run.namespace)

    await keep_trying(f"workspace of run {run.id}", delete, around.settings.longest_back_off)
