"""Start a CronJob's jobs when they are due, and keep as many of those that have ended as it asks for.

Watches cron jobs and jobs; sync.py writes jobs and the CronJob's status. Follows upstream's
pkg/controller/cronjob/cronjob_controllerv2.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import CRON_JOBS, JOBS
from proa.reconcile.ownership import owner_keys
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch


class CronJobController:
    """`reconcile.protocol.Controller`; remembers which schedule of a CronJob it has seen."""

    NAME = "cronjob"
    WATCHES: Sequence[Watch] = (Watch(CRON_JOBS), Watch(JOBS, keys_of=lambda job: owner_keys(job, "CronJob")))

    def __init__(self) -> None:
        self._schedules: dict[Key, tuple[str, str, str]] = {}

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Clean up, start what is due, write the status; a schedule that has just changed waits for its next moment."""
        cron_job = context.caches(CRON_JOBS).get(key.name, key.namespace)
        if cron_job is None:
            self._schedules.pop(key, None)
            return DONE
        from proa.controllers.cronjob.sync import sync, wait_for_new_schedule  # not before there is a CronJob

        if self._has_new_schedule(key, cron_job):
            return wait_for_new_schedule(context, cron_job)
        return await sync(context, cron_job)

    def _has_new_schedule(self, key: Key, cron_job: Object) -> bool:
        """Tell whether the schedule has changed: what the new one has missed was never promised."""
        spec = cron_job["spec"]
        seen = (meta.uid(cron_job), spec.get("schedule") or "", spec.get("timeZone") or "")
        before = self._schedules.get(key)
        self._schedules[key] = seen
        return before is not None and before[0] == seen[0] and before != seen
