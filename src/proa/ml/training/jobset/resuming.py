"""A suspended Job as it goes on: with what of its JobSet's pod template may have changed meanwhile.

Pure. Follows resumeJob of pkg/controllers/jobset_controller.go of kubernetes-sigs/jobset: queues (Kueue) say while a
JobSet is suspended where its pods are to run.
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object


def resumed(job: Object, replicated: Object) -> Object:
    """Return the Job, not suspended; labels, annotations and where pods may run are merged, not replaced."""
    pods = (replicated["template"].get("spec") or {}).get("template") or {}
    template = job["spec"]["template"]
    metadata, spec = dict(template.get("metadata") or {}), dict(template["spec"])
    wanted_metadata, wanted_spec = pods.get("metadata") or {}, pods.get("spec") or {}
    for holder, wanted, key in (
        (metadata, wanted_metadata, "labels"),
        (metadata, wanted_metadata, "annotations"),
        (spec, wanted_spec, "nodeSelector"),
    ):
        if wanted.get(key):
            holder[key] = {**(holder.get(key) or {}), **wanted[key]}
    for key in ("tolerations", "schedulingGates"):
        if wanted_spec.get(key):
            spec[key] = _joined(spec.get(key) or [], wanted_spec[key])
    changed = {**template, "metadata": metadata, "spec": spec}
    return {**job, "spec": {**job["spec"], "suspend": False, "template": changed}}


def _joined(there: list[Any], wanted: list[Any]) -> list[Any]:
    return [*there, *(item for item in wanted if item not in there)]
