"""Say why a run has no pod that runs, from the warnings that others have told about it.

For what no condition says: a Job whose pods are refused (quota, admission), a volume that does not come.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Client, Object
from proa.ml.tuning.operator.pod_trouble import Trouble, describe_failure
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.resource import EVENTS
from proa.reconcile.events import COMBINED_PREFIX

MOST_EVENTS = 50


async def explain_silence(client: Client, run: Object, pods: Sequence[Object], container: str) -> Trouble:
    """Return what is known of why nothing runs; `container` is the one that trains."""
    if failure := describe_failure(pods, container):
        words = f"{run.get('kind')} {meta.name(run)} tries again, later each time: {failure}"
        return Trouble("PodsFail", f"{words}; spec.backoffLimit of a Job says how often")
    pending = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Pending"]
    about = pending[0] if pending else run
    words = await _last_warning(client, about)
    what = f"{about.get('kind') or 'Pod'} {meta.name(about)}"
    if pending:
        return Trouble("PodPending", f"{what} does not start: {words or 'see its events'}")
    return Trouble("NoPods", f"{what} has no pod: {words or 'see its events, and whether its operator runs'}")


async def _last_warning(client: Client, about: Object) -> str:
    selector = f"involvedObject.uid={meta.uid(about)},type=Warning"
    try:
        found = await client.list(EVENTS, meta.namespace(about), field_selector=selector, limit=MOST_EVENTS)
    except ApiError:
        return ""  # what is not known is not said
    last = max(
        found.items, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")), default=None
    )
    if last is None:
        return ""
    return f"{last.get('reason')}: {(last.get('message') or '').removeprefix(COMBINED_PREFIX)}"
