"""The Run kind (crd.yaml), and the words by which a run's objects and pods are known."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proa.client.protocol import JSON_PATCH, Client, Object
from proa.ml.definitions import ensure_definitions
from proa.ml.pipelines.run_objects import FINALIZER, GROUP, RUN_ID_LABEL
from proa.objects import meta
from proa.objects.errors import ApiError, Conflict, NotFound
from proa.objects.resource import Resource

DEFINITION = Path(__file__).with_name("crd.yaml")
COMPONENT_LABEL = "pipelines.kubeflow.org/v2_component"
POD_SELECTOR = f"{COMPONENT_LABEL}=true"
TASK_PATH = f"{GROUP}/task-path"
ATTEMPT = f"{GROUP}/attempt"
CONFLICT_SECONDS = 0.01
"""How long to wait before looking again at what someone else has just changed."""
MAIN = "main"
"""The user's container."""


async def ensure_definition(client: Client) -> None:
    """See that the API server knows the kind as it is here, and serves it; raise ApiError."""
    await ensure_definitions(client, [DEFINITION])


async def let_go(client: Client, resource: Resource, obj: Object) -> None:
    """Take our finalizer off an object, as it was last seen; one that is gone is fine. Raise ApiError."""
    name, namespace = meta.name(obj), meta.namespace(obj)
    while FINALIZER in meta.finalizers(obj):
        place = f"/metadata/finalizers/{meta.finalizers(obj).index(FINALIZER)}"
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": meta.uid(obj)},
            {"op": "test", "path": place, "value": FINALIZER},
            {"op": "remove", "path": place},
        ]
        try:
            await client.patch(resource, name, patch, namespace, patch_type=JSON_PATCH)
            return
        except NotFound:
            return
        except Conflict:
            pass
        except ApiError as error:
            if error.code != 422:  # the server's answer to a `test` that fails
                raise
        await asyncio.sleep(CONFLICT_SECONDS)  # whoever was faster may not be seen before it is on disk
        try:
            found = await client.get(resource, name, namespace)
        except NotFound:
            return
        if meta.uid(found) != meta.uid(obj):
            return
        obj = found


def run_id_of(pod: Object) -> str:
    """Return the id of the run that a pod is of; "" for none."""
    return meta.labels(pod).get(RUN_ID_LABEL, "")


def attempt_of(pod: Object) -> tuple[str, int] | None:
    """Return the path and attempt that a pod was made for; None where it does not say."""
    notes = meta.annotations(pod)
    try:
        return notes[TASK_PATH], int(notes[ATTEMPT])
    except (KeyError, ValueError):
        return None
