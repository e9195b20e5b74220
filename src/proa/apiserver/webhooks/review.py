"""Write the AdmissionReview that a webhook gets, and read its answer: webhook/request/admissionreview.go."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from proa.apiserver.admission.description import describe_request
from proa.apiserver.admission.matching import Match
from proa.apiserver.registry.attributes import Attributes
from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import quote

GROUP = "admission.k8s.io"


class BadReview(Exception):
    """The webhook's answer breaks the rules; the message says how, in upstream's words."""

    def __init__(self, why: str) -> None:
        super().__init__(f"received invalid webhook response: {why}")


class Undecodable(BadReview):
    """The answer is no AdmissionReview at all."""

    def __init__(self, why: str) -> None:
        Exception.__init__(self, f"failed to call webhook: {why}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook answered."""

    allowed: bool
    status: Object
    patch: bytes
    patch_type: str
    audit_annotations: dict[str, str]
    warnings: tuple[str, ...]


def make_review(
    uid: str, version: str, attributes: Attributes, match: Match, obj: Object | None, old: Object | None
) -> bytes:
    """Return the body of the request. `obj` and `old` are of the matched kind."""
    request = describe_request(attributes, match)
    request = {"uid": uid, **request, "object": obj, "oldObject": old}
    return orjson.dumps({"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request})


def read_review(body: bytes, uid: str, version: str, *, mutating: bool) -> Verdict:
    """Return what the webhook decided; raise BadReview."""
    review = _decode(body)
    response = review.get("response")
    if response is None:
        raise BadReview("webhook response was absent")
    if version == "v1":
        _check_identity(review, response, uid)
    patch = _bytes(response.get("patch"))
    patch_type = response.get("patchType")
    if version == "v1":
        _check_patch(patch, patch_type, mutating=mutating)
    elif patch:
        patch_type = "JSONPatch"
    return Verdict(
        bool(response.get("allowed")),
        response.get("status") or {},
        patch if mutating else b"",
        patch_type or "",
        response.get("auditAnnotations") or {},
        tuple(response.get("warnings") or ()),
    )


_SHAPE: dict[str, tuple[type, ...]] = {
    "uid": (str,),
    "allowed": (bool,),
    "status": (dict,),
    "patch": (str,),
    "patchType": (str,),
    "auditAnnotations": (dict,),
    "warnings": (list,),
}


def _decode(body: bytes) -> Object:
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(review, dict):
        raise Undecodable("couldn't get version/kind; json parse error: json: cannot unmarshal into Go value")
    response = review.get("response")
    if response is not None and not isinstance(response, dict):
        raise Undecodable("json: cannot unmarshal into Go struct field AdmissionReview.response")
    for key, kinds in _SHAPE.items():
        value = (response or {}).get(key)
        if value is not None and not isinstance(value, kinds):
            raise Undecodable(f"json: cannot unmarshal into Go struct field AdmissionResponse.response.{key}")
    noted = (response or {}).get("auditAnnotations") or {}
    warned = (response or {}).get("warnings") or []
    if not all(isinstance(text, str) for text in (*noted.values(), *warned)):
        raise Undecodable("json: cannot unmarshal into Go value of type string")
    return review


def _check_identity(review: Object, response: Object, uid: str) -> None:
    said = response.get("uid") or ""
    if said != uid:
        raise BadReview(f"expected response.uid={quote(uid)}, got {quote(said)}")
    api_version, kind = review.get("apiVersion") or "", review.get("kind") or ""
    if (api_version, kind) != (f"{GROUP}/v1", "AdmissionReview"):
        group, _, version = str(api_version).rpartition("/")
        got = f"{group}/{version}, Kind={kind}"
        raise BadReview(f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {got}")


def _check_patch(patch: bytes, patch_type: Any, *, mutating: bool) -> None:
    if not mutating:
        if patch:
            raise BadReview("validating webhook may not return response.patch")
        if patch_type is not None:
            raise BadReview("validating webhook may not return response.patchType")
    elif patch and patch_type is None:
        raise BadReview("webhook returned response.patch but not response.patchType")
    elif patch_type is not None and not patch:
        raise BadReview("webhook returned response.patchType but not response.patch")
    elif patch_type == "":
        raise BadReview('webhook returned invalid response.patchType of ""')


def _bytes(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Undecodable(f"illegal base64 data in response.patch: {error}") from None
