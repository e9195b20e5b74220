"""How a definition's versions may become one another: by name alone, or by a webhook.

Follows validateCustomResourceConversion; `webhookClientConfig` is the internal form's name, which messages show.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence

from proa.apiserver.resources.webhook_client_rules import validate_url, validate_webhook_service
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import dns1035_label, forbidden, invalid, not_supported, required

STRATEGIES = ("None", "Webhook")
REVIEW_VERSIONS = ("v1", "v1beta1")
_FIELD = "spec.conversion"


def validate_conversion(spec: Object, allows_bad_bundle: bool, previous: Object | None) -> Iterator[Cause]:
    """Yield what is wrong with spec.conversion."""
    conversion = spec.get("conversion") or {}
    strategy = conversion.get("strategy") or ""
    if not strategy:
        yield required(f"{_FIELD}.strategy")
    elif strategy not in STRATEGIES:
        yield not_supported(f"{_FIELD}.strategy", strategy, STRATEGIES)
    if strategy not in ("", "None") and spec.get("preserveUnknownFields"):
        yield invalid(f"{_FIELD}.strategy", strategy, "must be None if spec.preserveUnknownFields is true")
    webhook = conversion.get("webhook") or {}
    config, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy != "Webhook":
        if config is not None:
            why = "should not be set when strategy is not set to Webhook"
            yield forbidden(f"{_FIELD}.webhookClientConfig", why)
        if versions:
            why = "should not be set when strategy is not set to Webhook"
            yield forbidden(f"{_FIELD}.conversionReviewVersions", why)
        return
    yield from _client_causes(config, allows_bad_bundle or _had_bad_bundle(previous))
    yield from _version_causes(versions, previous)


def _client_causes(config: Object | None, allows_bad_bundle: bool) -> Iterator[Cause]:
    field = f"{_FIELD}.webhookClientConfig"
    if config is None:
        yield required(field, "required when strategy is set to Webhook")
        return
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield required(field, "exactly one of url or service is required")
    elif url is not None:
        yield from validate_url(url, f"{field}.url")
    elif service is not None:
        yield from validate_webhook_service(service, f"{field}.service")
    if config.get("caBundle") and not allows_bad_bundle:
        yield from validate_bundle(config["caBundle"], f"{field}.caBundle")


def validate_bundle(bundle: str, field: str) -> list[Cause]:
    """PEM with a certificate in it (apiserver/pkg/util/webhook/validation.go)."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        load_pem_x509_certificates(b64decode(bundle))
    except ValueError:
        why = "unable to load root certificates: unable to parse bytes as PEM block"
        return [invalid(field, "<omitted>", why)]
    return []


def _had_bad_bundle(previous: Object | None) -> bool:
    webhook = ((previous or {}).get("conversion") or {}).get("webhook") or {}
    bundle = (webhook.get("clientConfig") or {}).get("caBundle")
    return bundle is not None and bool(validate_bundle(bundle, ""))


def _version_causes(versions: Sequence[str], previous: Object | None) -> Iterator[Cause]:
    field = f"{_FIELD}.conversionReviewVersions"
    if not versions:
        yield required(field)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield invalid(f"{field}[{index}]", version, "duplicate version")
            continue
        for problem in dns1035_label(version):
            yield invalid(f"{field}[{index}]", version, problem)
    had = (((previous or {}).get("conversion") or {}).get("webhook") or {}).get(
        "conversionReviewVersions"
    ) or []
    must = not had or any(version in REVIEW_VERSIONS for version in had)
    if must and not any(version in REVIEW_VERSIONS for version in versions):
        why = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        yield invalid(field, list(versions), why)
