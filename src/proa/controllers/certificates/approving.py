"""Approve the client certificates that kubelets ask for, where who asks may have them without a person's word.

Watches certificate signing requests, asks SubjectAccessReviews, writes approvals. Follows
pkg/controller/certificates/approver/sarapprove.go.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.certificate_request import UnreadableRequest, kubelet_client_problem, read_request
from proa.objects.errors import Conflict, NotFound
from proa.objects.meta import has_condition
from proa.objects.resource import CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "csrapproving"
ACCOUNT = "certificate-controller"
SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
WATCHES = (Watch(CERTIFICATE_SIGNING_REQUESTS),)
SELF = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
OTHER = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


def plan(request: Object | None) -> tuple[tuple[str, str], ...]:
    """Return the rights any of which approves the request, and what is then said; none where it is not for us."""
    if request is None or is_settled(request) or request["spec"].get("signerName") != SIGNER:
        return ()
    try:
        found = read_request(request["spec"]["request"])
    except UnreadableRequest:
        return ()
    if kubelet_client_problem(found, request["spec"].get("usages") or ()):
        return ()
    return (SELF, OTHER) if request["spec"].get("username") == found.common_name else (OTHER,)


def is_settled(request: Object) -> bool:
    """Tell whether somebody has approved, denied or answered the request."""
    if (request.get("status") or {}).get("certificate"):
        return True
    return has_condition(request, "Approved") or has_condition(request, "Denied")


async def reconcile(context: Context, key: Key) -> Result:
    """Approve the request `key.name` where it is a kubelet's and its author has the right."""
    request = context.caches(CERTIFICATE_SIGNING_REQUESTS).get(key.name)
    for subresource, message in plan(request):
        assert request is not None
        if await _may(context, request["spec"], subresource):
            try:
                await context.client.update(
                    CERTIFICATE_SIGNING_REQUESTS, approved(request, message), "approval"
                )
            except (Conflict, NotFound):
                return DONE  # its new state comes by the watch
            return DONE
    return DONE


def approved(request: Object, message: str) -> Object:
    """Return the request as approved."""
    condition = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
    status = request.get("status") or {}
    return {**request, "status": {**status, "conditions": [*(status.get("conditions") or ()), condition]}}


async def _may(context: Context, spec: Object, subresource: str) -> bool:
    asked = {
        "group": CERTIFICATE_SIGNING_REQUESTS.group,
        "resource": CERTIFICATE_SIGNING_REQUESTS.plural,
        "verb": "create",
        "subresource": subresource,
    }
    review = {
        "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": SUBJECT_ACCESS_REVIEWS.kind,
        "spec": {
            "user": spec.get("username", ""),
            "uid": spec.get("uid", ""),
            "groups": spec.get("groups") or [],
            "extra": spec.get("extra") or {},
            "resourceAttributes": asked,
        },
    }
    answer = await context.client.create(SUBJECT_ACCESS_REVIEWS, review)
    return bool(answer["status"]["allowed"])
