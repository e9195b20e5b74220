"""Fill in what a webhook configuration leaves out: pkg/apis/admissionregistration/v1/defaults.go."""

from __future__ import annotations

from proa.client.protocol import Object

TIMEOUT_SECONDS = 10
SERVICE_PORT = 443


def default_validating(configuration: Object) -> None:
    """Default each webhook of a ValidatingWebhookConfiguration."""
    for webhook in configuration.get("webhooks") or ():
        _default(webhook)


def default_mutating(configuration: Object) -> None:
    """Default each webhook of a MutatingWebhookConfiguration, which is asked once unless it says otherwise."""
    for webhook in configuration.get("webhooks") or ():
        _default(webhook)
        webhook.setdefault("reinvocationPolicy", "Never")


def _default(webhook: Object) -> None:
    webhook.setdefault("failurePolicy", "Fail")
    webhook.setdefault("matchPolicy", "Equivalent")
    webhook.setdefault("namespaceSelector", {})
    webhook.setdefault("objectSelector", {})
    webhook.setdefault("timeoutSeconds", TIMEOUT_SECONDS)
    for rule in webhook.get("rules") or ():
        rule.setdefault("scope", "*")
    service = (webhook.get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", SERVICE_PORT)
