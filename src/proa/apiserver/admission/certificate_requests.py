"""Say in a certificate request who asks, and let those alone approve and sign who may do so for its signer.

Follows plugin/pkg/admission/certificates (approval, signing, subjectrestriction) and pkg/certauthorization; who asks is
written by the kind's strategy upstream.
"""

from __future__ import annotations

from proa.apiserver.authorization.decision import MASTERS
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object
from proa.objects.certificate_request import UnreadableRequest, read_request
from proa.objects.resource import CERTIFICATE_SIGNING_REQUESTS
from proa.objects.validation import quote

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


def name_requester(attributes: Attributes) -> None:
    """Write who asks, whatever the request says."""
    request, user = attributes.obj, attributes.user
    if attributes.operation != "CREATE" or attributes.subresource or request is None:
        return
    spec = request["spec"]
    for key in ("username", "uid", "groups", "extra"):
        spec.pop(key, None)
    if user is None:
        return
    said = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    spec.update((key, value) for key, value in said.items() if value)


def check_approval(attributes: Attributes) -> None:
    """Raise Forbidden where the user may not approve for the signer."""
    if attributes.subresource == "approval" and attributes.operation == "UPDATE":
        _check(attributes, "approve")


def check_signing(attributes: Attributes) -> None:
    """Raise Forbidden where the user may not sign for the signer."""
    new, old = attributes.obj, attributes.old
    if attributes.subresource != "status" or new is None or old is None:
        return
    if any(_status(new, key) != _status(old, key) for key in ("certificate", "conditions")):
        _check(attributes, "sign")


def check_subject(attributes: Attributes) -> None:
    """Raise Forbidden for a client certificate of system:masters, which nothing could take back."""
    request = attributes.obj
    if attributes.operation != "CREATE" or attributes.subresource or request is None:
        return
    if request["spec"].get("signerName") != CLIENT_SIGNER:
        return
    try:
        organizations = read_request(request["spec"].get("request", "")).organizations
    except UnreadableRequest as error:
        raise _refused(attributes, f"failed to parse CSR: {error}") from None
    if MASTERS in organizations:
        raise _refused(attributes, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def _check(attributes: Attributes, verb: str) -> None:
    old, user = attributes.old, attributes.user
    assert old is not None
    signer = old["spec"].get("signerName", "")
    if user is None:
        return
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        group = CERTIFICATE_SIGNING_REQUESTS.group
        info = RequestInfo(True, verb, "", group, "*", "", "signers", name)
        if attributes.catalog.authorizer.authorize(user, info).allowed:
            return
    raise _refused(attributes, f"user not permitted to {verb} requests with signerName {quote(signer)}")


def _status(request: Object, key: str) -> object:
    return (request.get("status") or {}).get(key) or None


def _refused(attributes: Attributes, why: str) -> Exception:
    return forbidden(CERTIFICATE_SIGNING_REQUESTS, attributes.name, why)
