"""Let webhooks refuse what is about to be stored: all that concern a request are asked at the same time.

Follows apiserver/pkg/admission/plugin/webhook/validating/dispatcher.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from proa.apiserver.admission.matching import Match
from proa.apiserver.admission.mutation import view
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.notes import annotate_audit
from proa.apiserver.webhooks.calling import ask, failed
from proa.apiserver.webhooks.client import CallFailure, WebhookClient
from proa.apiserver.webhooks.conditions import meets_conditions
from proa.apiserver.webhooks.configurations import Webhook
from proa.objects.errors import ApiError

_log = logging.getLogger(__name__)


async def ask_all(client: WebhookClient, found: Sequence[Webhook], attributes: Attributes) -> None:
    """Ask those of the webhooks that concern the request, all at once; raise what refuses it."""
    relevant: list[tuple[Webhook, Match]] = []
    for webhook in found:
        match = webhook.matcher.match(attributes)
        if match is not None and await meets_conditions(webhook, attributes, match):
            relevant.append((webhook, match))
    asking = [
        _ask_one(client, webhook, attributes, match, index) for index, (webhook, match) in enumerate(relevant)
    ]
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    errors = [outcome for outcome in outcomes if outcome is not None]
    for error in errors:
        if not isinstance(error, ApiError):
            raise error
    if errors:
        raise errors[0]


async def _ask_one(
    client: WebhookClient, webhook: Webhook, attributes: Attributes, match: Match, index: int
) -> None:
    views = await view(attributes, match)
    try:
        await ask(client, webhook, attributes, match, views, mutating=False)
    except CallFailure as failure:
        if not webhook.ignores_failure:
            raise failed(webhook, failure) from failure
        _log.warning("a webhook failed and is ignored webhook=%s error=%s", webhook.name, failure)
        key = f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}"
        annotate_audit(key, webhook.name)
