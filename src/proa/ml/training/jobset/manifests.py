"""What a JobSet is made of: its Jobs, the Service by which their pods find one another, and their claims.

Pure. Follows constructJob and createHeadlessSvcIfNecessary of pkg/controllers/jobset_controller.go, and
pkg/controllers/volume_claim_policy.go, of kubernetes-sigs/jobset.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.client.protocol import Object
from proa.ml.training.jobset.names import (
    EXCLUSIVE,
    NAMESPACED_JOB,
    NO_SCHEDULE,
    NODE_SELECTOR_STRATEGY,
    has_host_names,
    make_claim_name,
    make_job_name,
    make_labels,
    make_placement_annotations,
    subdomain,
)
from proa.ml.training.kinds import JOB_SET_NAME, JOB_SETS
from proa.objects import meta
from proa.objects.resource import JOBS, PERSISTENT_VOLUME_CLAIMS, SERVICES


def is_suspended(obj: Object) -> bool:
    """Tell whether spec.suspend is set, of a JobSet or a Job."""
    return obj["spec"].get("suspend") is True


def make_job(jobset: Object, replicated: Object, index: int) -> Object:
    """Return one Job; it is the API server that judges its pod template."""
    template = replicated["template"]
    marks = make_labels(jobset, replicated, index)
    placement = make_placement_annotations(jobset, replicated)
    spec = template.get("spec") or {}
    pods = spec.get("template") or {}
    pod_metadata = pods.get("metadata") or {}
    pod = dict(pods.get("spec") or {})
    if has_host_names(jobset):
        pod["subdomain"] = subdomain(jobset)
    if EXCLUSIVE in placement and NODE_SELECTOR_STRATEGY in placement:
        job_name = f"{meta.namespace(jobset)}_{make_job_name(jobset, replicated, index)}"
        toleration = {"key": NO_SCHEDULE, "operator": "Exists", "effect": "NoSchedule"}
        pod["nodeSelector"] = {**(pod.get("nodeSelector") or {}), NAMESPACED_JOB: job_name}
        pod["tolerations"] = [*(pod.get("tolerations") or ()), toleration]
    if volumes := list(_claimed_volumes(jobset, pod)):
        pod["volumes"] = [*(pod.get("volumes") or ()), *volumes]
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": make_job_name(jobset, replicated, index),
            "namespace": meta.namespace(jobset),
            "labels": {**meta.labels(template), **marks},
            "annotations": {**meta.annotations(template), **marks, **placement},
            "ownerReferences": [meta.make_owner_reference(jobset, JOB_SETS)],
        },
        "spec": {
            **spec,
            "suspend": is_suspended(jobset),
            "template": {
                "metadata": {
                    **pod_metadata,
                    "labels": {**(pod_metadata.get("labels") or {}), **marks},
                    "annotations": {**(pod_metadata.get("annotations") or {}), **marks, **placement},
                },
                "spec": pod,
            },
        },
    }


def make_service(jobset: Object) -> Object | None:
    """Return the headless Service, None where pods are not to be found by name."""
    if not has_host_names(jobset):
        return None
    published = jobset["spec"]["network"].get("publishNotReadyAddresses")
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": {
            "name": subdomain(jobset),
            "namespace": meta.namespace(jobset),
            "ownerReferences": [meta.make_owner_reference(jobset, JOB_SETS)],
        },
        "spec": {
            "clusterIP": "None",
            "selector": {JOB_SET_NAME: meta.name(jobset)},
            "publishNotReadyAddresses": published is not False,
        },
    }


def make_claims(jobset: Object) -> list[Object]:
    """Return the claims that are shared by the JobSet's pods."""
    found = []
    for policy, template in _claim_templates(jobset):
        deleted_with = (policy.get("retentionPolicy") or {}).get("whenDeleted", "Delete") == "Delete"
        owners = [meta.make_owner_reference(jobset, JOB_SETS)] if deleted_with else []
        found.append(
            {
                "apiVersion": PERSISTENT_VOLUME_CLAIMS.api_version,
                "kind": PERSISTENT_VOLUME_CLAIMS.kind,
                "metadata": {
                    "name": make_claim_name(jobset, template),
                    "namespace": meta.namespace(jobset),
                    "labels": {**meta.labels(template), JOB_SET_NAME: meta.name(jobset)},
                    "annotations": meta.annotations(template),
                    "ownerReferences": owners,
                },
                "spec": template.get("spec") or {},
            }
        )
    return found


def _claim_templates(jobset: Object) -> Iterator[tuple[Object, Object]]:
    for policy in jobset["spec"].get("volumeClaimPolicies") or ():
        for template in policy.get("templates") or ():
            yield policy, template


def _claimed_volumes(jobset: Object, pod: Object) -> Iterator[Object]:
    containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
    mounted = {mount.get("name") for found in containers for mount in found.get("volumeMounts") or ()}
    for _, template in _claim_templates(jobset):
        if meta.name(template) in mounted:
            claim = {"claimName": make_claim_name(jobset, template)}
            yield {"name": meta.name(template), "persistentVolumeClaim": claim}
