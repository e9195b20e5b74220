"""Groups of the Kubernetes project itself take definitions only with a word on who approved them.

Follows validateAPIApproval and apiextensions-apiserver/pkg/apihelpers/helpers.go (KEP-1111).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import invalid, required

ANNOTATION = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


def is_protected(group: str) -> bool:
    """Tell whether a group is the community's own."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval_of(definition: Object) -> tuple[str, str]:
    """Return the state of approval (missing, bypassed, approved, invalid) and the reason."""
    said = (definition["metadata"].get("annotations") or {}).get(ANNOTATION) or ""
    if not said:
        return "missing", f'protected groups must have approval annotation "{ANNOTATION}", {_SEE}'
    if said.startswith("unapproved"):
        return "bypassed", f'not approved: "{said}"'
    try:
        parts = urlsplit(said)
        if parts.scheme and parts.netloc:
            return "approved", f"approved in {said}"
    except ValueError:
        pass  # no URL
    why = f'protected groups must have approval annotation "{ANNOTATION}" with either a URL or a reason starting with'
    return "invalid", f'{why} "unapproved", {_SEE}'


def validate_approval(new: Object, old: Object | None) -> list[Cause]:
    """Return what is wrong with the approval of a definition in a protected group; what was so may stay."""
    if not is_protected(new["spec"].get("group") or ""):
        return []
    state, reason = approval_of(new)
    if old is not None and approval_of(old)[0] == state:
        return []
    field = f"metadata.annotations[{ANNOTATION}]"
    if state == "missing":
        return [required(field, reason)]
    if state == "invalid":
        return [invalid(field, new["metadata"]["annotations"][ANNOTATION], reason)]
    return []
