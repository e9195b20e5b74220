"""Ask one webhook about one request, and turn what it says into an outcome: the part that both kinds share.

Follows callHook of webhook/{mutating,validating}/dispatcher.go and webhook/errors/statuserror.go.
"""

from __future__ import annotations

import logging
from typing import Any

from proa.apiserver.admission.matching import Match
from proa.apiserver.admission.mutation import Views
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.metadata import new_uid
from proa.apiserver.registry.notes import annotate_audit, warn
from proa.apiserver.registry.refusals import internal
from proa.apiserver.webhooks.client import CallFailure, WebhookClient, make_target
from proa.apiserver.webhooks.configurations import Webhook
from proa.apiserver.webhooks.review import BadReview, Verdict, make_review, read_review
from proa.client.protocol import Object
from proa.objects.errors import ApiError, BadRequest
from proa.objects.validation import quote

_log = logging.getLogger(__name__)
MAX_WARNING = 4096


async def ask(
    client: WebhookClient,
    webhook: Webhook,
    attributes: Attributes,
    match: Match,
    views: Views,
    *,
    mutating: bool,
) -> Verdict:
    """Return a webhook's verdict, which allows; raise CallFailure, or the ApiError that refuses the request."""
    if attributes.dry_run and webhook.side_effects not in ("None", "NoneOnDryRun"):
        raise BadRequest(f"admission webhook {quote(webhook.name)} does not support dry run")
    version = webhook.review_version
    if not version:
        why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
        raise CallFailure(f"could not create admission objects: {why}")
    uid = new_uid()
    body = make_review(uid, version, attributes, match, views.obj, views.old)
    target = make_target(webhook.client_config)
    try:
        answer = await client.post(target, body, webhook.timeout_seconds)
    except CallFailure as failure:
        said = str(failure)
        raise CallFailure(
            said if said.startswith("could not get REST client") else f"failed to call webhook: {said}"
        ) from failure
    try:
        verdict = read_review(answer, uid, version, mutating=mutating)
    except BadReview as bad:
        raise CallFailure(str(bad)) from None
    for key, value in verdict.audit_annotations.items():
        annotate_audit(f"{webhook.name}/{key}", value)
    for text in verdict.warnings:
        warn(text[:MAX_WARNING])
    if not verdict.allowed:
        raise denial(webhook.name, verdict.status)
    return verdict


def failed(webhook: Webhook, failure: CallFailure) -> ApiError:
    """Return the error for a webhook that must answer and did not."""
    text = f"failed calling webhook {quote(webhook.name)}: {failure}"
    _log.warning("a webhook failed, the request is refused webhook=%s error=%s", webhook.name, failure)
    return internal(text)


def denial(name: str, status: Object) -> ApiError:
    """Return the error for a webhook that says no, with the status that it gave."""
    denied_by = f"admission webhook {quote(name)} denied the request"
    said = _text(status, "message") or _text(status, "reason")
    message = f"{denied_by}: {said}" if said else f"{denied_by} without explanation"
    code = status.get("code")
    return Denial(message, status, code if type(code) is int and 400 <= code < 1000 else 400)


def _text(status: Object, key: str) -> str:
    value = status.get(key)
    return value if isinstance(value, str) else ""


class Denial(ApiError):
    """A webhook refused; the Status is the webhook's own but for its message."""

    reason = ""

    def __init__(self, message: str, status: Object, code: int) -> None:
        super().__init__(message)
        self.code = code
        self.reason = _text(status, "reason")
        details: Any = status.get("details")
        self.details = details if isinstance(details, dict) else {}
        self._status = _text(status, "status")

    def status(self) -> dict[str, Any]:
        """Return the Status."""
        said = super().status()
        if self._status not in ("", "Success"):
            said["status"] = self._status
        return said
