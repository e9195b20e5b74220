"""Let webhooks change an object before it is stored, one after the other, each seeing what those before it made.

Follows apiserver/pkg/admission/plugin/webhook/mutating/dispatcher.go and reinvocationcontext.go. When a webhook changes
the object, the whole phase is run a second time; in it, webhooks with reinvocationPolicy IfNeeded that had been asked
before the change are asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import field

import orjson

from proa.apiserver.admission.matching import Match
from proa.apiserver.admission.mutation import replace, view
from proa.apiserver.registry.attributes import Attributes, Reinvocation
from proa.apiserver.registry.notes import annotate_audit
from proa.apiserver.registry.refusals import internal
from proa.apiserver.webhooks.calling import ask, failed
from proa.apiserver.webhooks.client import CallFailure, WebhookClient
from proa.apiserver.webhooks.conditions import meets_conditions
from proa.apiserver.webhooks.configurations import Webhook
from proa.apiserver.webhooks.review import Verdict
from proa.client.protocol import Object
from proa.objects.errors import ApiError
from proa.objects.patch.json_patch import apply_json_patch
from proa.objects.patch.refusals import DoesNotApply
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import quote

_log = logging.getLogger(__name__)
NAME = "MutatingAdmissionWebhook"


@dataclass(slots=True)
class _Memory:
    """What is known from one round to the next: webhooks by their uid."""

    asked: set[str] = field(default_factory=set)
    """Those that may be asked again, and were asked since the last change."""
    to_ask: set[str] = field(default_factory=set)
    last: Object | None = None
    """The object when the last round ended."""

    def require(self) -> None:
        """Ask those again that have seen an object that is changed now."""
        self.to_ask |= self.asked
        self.asked = set()


async def ask_all(client: WebhookClient, found: Sequence[Webhook], attributes: Attributes) -> None:
    """Ask those of the webhooks that concern the request, in order; raise what refuses it."""
    again = attributes.reinvocation
    if again is None:
        again = attributes.reinvocation = Reinvocation()
    memory: _Memory = again.memory.setdefault(NAME, _Memory())
    if again.is_second and memory.last != attributes.obj:
        memory.require()
    for index, webhook in enumerate(found):
        match = webhook.matcher.match(attributes)
        if match is None or (again.is_second and webhook.uid not in memory.to_ask):
            continue
        if not await meets_conditions(webhook, attributes, match):
            continue
        where = f"round_{int(again.is_second)}_index_{index}"
        if await _ask_one(client, webhook, attributes, match, where):
            memory.require()
            again.needed = True
        if webhook.reinvokes:
            memory.asked.add(webhook.uid)
    memory.last = None if attributes.obj is None else orjson.loads(orjson.dumps(attributes.obj))


async def _ask_one(
    client: WebhookClient, webhook: Webhook, attributes: Attributes, match: Match, where: str
) -> bool:
    """Ask a webhook and do what it says; return whether the object is another now."""
    changed = False
    try:
        views = await view(attributes, match)
        verdict = await ask(client, webhook, attributes, match, views, mutating=True)
        new = _patched(webhook, verdict, views.obj, where)
        if new is not None:
            changed = await replace(attributes, match, views.obj, new)
    except CallFailure as failure:
        if not webhook.ignores_failure:
            raise failed(webhook, failure) from failure
        _log.warning("a webhook failed and is ignored webhook=%s error=%s", webhook.name, failure)
        annotate_audit(f"failed-open.mutation.webhook.admission.k8s.io/{where}", webhook.name)
    finally:
        said = {"configuration": webhook.configuration, "webhook": webhook.name, "mutated": changed}
        annotate_audit(f"mutation.webhook.admission.k8s.io/{where}", orjson.dumps(said).decode())
    return changed


def _patched(webhook: Webhook, verdict: Verdict, obj: Object | None, where: str) -> Object | None:
    """Return what the verdict's patch makes of the object, None without a patch; raise CallFailure, InternalError."""
    if not verdict.patch:
        return None
    try:
        patch = orjson.loads(verdict.patch)
    except orjson.JSONDecodeError as error:
        raise CallFailure(f"received undecodable patch in webhook response: {error}") from None
    if not isinstance(patch, list):
        why = "json: cannot unmarshal into Go value of type jsonpatch.Patch"
        raise CallFailure(f"received undecodable patch in webhook response: {why}")
    if not patch:
        return None
    if obj is None:
        what = f"admission webhook {quote(webhook.name)} attempted to modify the object"
        raise internal(f"{what}, which is not supported for this operation")
    if verdict.patch_type != "JSONPatch":
        raise CallFailure(f"unsupported patch type {quote(verdict.patch_type)}")
    try:
        new = apply_json_patch(obj, patch)
    except DoesNotApply as error:
        raise internal(error.why) from None
    except ApiError as error:
        raise internal(error.message) from None
    said = {"configuration": webhook.configuration, "webhook": webhook.name, "patch": patch}
    value = orjson.dumps({**said, "patchType": "JSONPatch"}).decode()
    annotate_audit(f"patch.webhook.admission.k8s.io/{where}", value, holds_body=True)
    return new
