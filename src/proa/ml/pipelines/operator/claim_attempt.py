"""Carry out create-pvc and delete-pvc tasks: they have no pod, and doing one twice is harmless.

Source: createPVC and deletePVC of backend/src/v2/driver/k8s.go; executor/claims.py says what is made.
"""

from __future__ import annotations

from contextlib import suppress

from proa.client.protocol import Object
from proa.ml.pipelines.executor.claims import find_claim_to_delete, is_made_by, make_claim, make_outputs
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.operator.attempt import Attempt, Outcome
from proa.ml.pipelines.records import Caching, Values
from proa.objects import meta
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES

STANDARD_CLASS = "standard"


class _ClaimAttempt(Attempt):
    async def _reach_end(self) -> Outcome:
        self._begun()
        self._notes.caching = Caching("off", "off: claims are made and deleted by each run itself")
        return self._succeeded(await self._act())

    async def _act(self) -> Values:
        raise NotImplementedError


class CreateClaimAttempt(_ClaimAttempt):
    """Create a claim; one that an earlier try of this task has created is it."""

    async def _act(self) -> Values:
        wanted = make_claim(self._run, self.launch, not await self._has_standard_class())
        return make_outputs(await self._create_or_adopt(wanted))

    async def _has_standard_class(self) -> bool:
        try:
            await self._around.client.get(STORAGE_CLASSES, STANDARD_CLASS)
        except NotFound:
            return False
        return True

    async def _create_or_adopt(self, wanted: Object) -> Object:
        name, namespace = meta.name(wanted), self._run.namespace
        client = self._around.client
        try:
            return await client.create(PERSISTENT_VOLUME_CLAIMS, wanted, namespace)
        except AlreadyExists:
            found = await client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
        if not is_made_by(found, self._run, self.launch):
            raise StepFailed(f"task '{self.task}': a claim called {name} is already in namespace {namespace}")
        return found


class DeleteClaimAttempt(_ClaimAttempt):
    """Delete a claim; one that is gone is fine."""

    async def _act(self) -> Values:
        name = find_claim_to_delete(self.launch)
        with suppress(NotFound):
            await self._around.client.delete(PERSISTENT_VOLUME_CLAIMS, name, self._run.namespace)
        return Values()
