"""Sign what is approved and asked of Kubernetes' own signers, with the cluster's authority.

Watches certificate signing requests, writes their status: the certificate, or the condition Failed. Follows
pkg/controller/certificates/signer/signer.go.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Collection

from proa.client.protocol import Object
from proa.controllers.certificates.authority import sign
from proa.objects.certificate_request import (
    CertificateRequest,
    UnreadableRequest,
    client_usage_problem,
    kubelet_client_problem,
    kubelet_serving_problem,
    read_request,
)
from proa.objects.errors import Conflict, NotFound
from proa.objects.meta import format_time, has_condition
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CERTIFICATE_SIGNING_REQUESTS
from proa.reconcile.protocol import DONE, Context, Key, Result, TerminalError, Watch

NAME = "csrsigning"
ACCOUNT = "certificate-controller"
WATCHES = (Watch(CERTIFICATE_SIGNING_REQUESTS),)
SIGNERS: dict[str, Callable[[CertificateRequest, Collection[str]], str]] = {
    "kubernetes.io/kube-apiserver-client": lambda request, usages: client_usage_problem(usages),
    "kubernetes.io/kube-apiserver-client-kubelet": kubelet_client_problem,
    "kubernetes.io/kubelet-serving": kubelet_serving_problem,
    "kubernetes.io/legacy-unknown": lambda request, usages: "",
}
"""What each signer refuses: functions that return why, or ""."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Sign `request`, or say that it failed because of `problem`; nothing where both are empty."""

    request: CertificateRequest | None = None
    problem: str = ""


def plan(obj: Object | None) -> Plan:
    """Decide what an approved request gets; raise UnreadableRequest."""
    if obj is None or not has_condition(obj, "Approved") or has_condition(obj, "Denied"):
        return Plan()
    if has_condition(obj, "Failed") or (obj.get("status") or {}).get("certificate"):
        return Plan()
    refuses = SIGNERS.get(obj["spec"].get("signerName", ""))
    if refuses is None:
        return Plan()
    request = read_request(obj["spec"]["request"])
    problem = refuses(request, obj["spec"].get("usages") or ())
    return Plan(problem=problem) if problem else Plan(request)


async def reconcile(context: Context, key: Key) -> Result:
    """Answer the request `key.name` where it is approved and not answered."""
    found = context.caches(CERTIFICATE_SIGNING_REQUESTS).get(key.name)
    try:
        decided = plan(found)
    except UnreadableRequest as error:
        raise TerminalError(f"unable to parse csr {key.name}: {error}") from None
    if found is None or decided == Plan():
        return DONE
    status = found.get("status") or {}
    if decided.request is not None:
        settings, spec = context.settings, found["spec"]
        pem = await asyncio.to_thread(
            sign,
            decided.request,
            spec.get("usages") or (),
            spec.get("expirationSeconds"),
            settings.authority_certificate,
            settings.authority_key,
            context.now(),
        )
        status = {**status, "certificate": base64.b64encode(pem).decode()}
    else:
        failed = {
            "type": "Failed",
            "status": "True",
            "reason": "SignerValidationFailure",
            "message": decided.problem,
            "lastUpdateTime": format_time(context.now()),
        }
        status = {**status, "conditions": [*(status.get("conditions") or ()), failed]}
    try:
        await context.client.update(CERTIFICATE_SIGNING_REQUESTS, {**found, "status": status}, "status")
    except (Conflict, NotFound):
        return DONE  # its new state comes by the watch
    return DONE
