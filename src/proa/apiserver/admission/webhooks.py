"""Ask the configured webhooks about a write: the plugins MutatingAdmissionWebhook and ValidatingAdmissionWebhook.

What asks them (webhooks/mutating.py, webhooks/validating.py) is imported when the first webhook concerns a request.
"""

from __future__ import annotations

from collections.abc import Awaitable

from proa.apiserver.registry.attributes import Attributes


def admit(attributes: Attributes) -> Awaitable[None] | None:
    """Let webhooks change the object, one after the other; costs next to nothing where there are none."""
    webhooks = attributes.catalog.webhooks
    if webhooks is None:
        return None
    found = webhooks.mutating.find(attributes.definition)
    if not found:
        return None
    from proa.apiserver.webhooks.mutating import ask_all

    return ask_all(webhooks.client, found, attributes)


def validate(attributes: Attributes) -> Awaitable[None] | None:
    """Let webhooks refuse the write, all at the same time."""
    webhooks = attributes.catalog.webhooks
    if webhooks is None:
        return None
    found = webhooks.validating.find(attributes.definition)
    if not found:
        return None
    from proa.apiserver.webhooks.validating import ask_all

    return ask_all(webhooks.client, found, attributes)
