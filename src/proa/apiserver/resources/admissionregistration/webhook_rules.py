"""Say what is wrong with a webhook configuration.

Follows ValidateMutatingWebhookConfiguration and ValidateValidatingWebhookConfiguration in pkg/apis/
admissionregistration/validation/validation.go, and apiserver/pkg/util/webhook/validation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proa.apiserver.resources.admissionregistration.match_condition_rules import validate_match_conditions
from proa.apiserver.resources.admissionregistration.rule_rules import validate_rule
from proa.apiserver.resources.webhook_client_rules import validate_url, validate_webhook_service
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    dns1035_label,
    dns_subdomain,
    duplicate,
    invalid,
    not_supported,
    required,
)
from proa.objects.validation_selectors import validate_label_selector

FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
REVIEW_VERSIONS = ("v1", "v1beta1")
"""AdmissionReview versions that the server speaks."""
MAX_TIMEOUT_SECONDS = 30


def validate_validating(configuration: Object) -> list[Cause]:
    """Check a ValidatingWebhookConfiguration."""
    return _validate(configuration, _validate_webhook)


def validate_mutating(configuration: Object) -> list[Cause]:
    """Check a MutatingWebhookConfiguration."""
    return _validate(configuration, _validate_mutating_webhook)


def _validate(configuration: Object, validate_webhook: Callable[[Object, str], list[Cause]]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        field = f"webhooks[{index}]"
        causes += validate_webhook(webhook, field)
        causes += _validate_review_versions(webhook.get("admissionReviewVersions") or [], field)
        name = webhook.get("name") or ""
        if name and name in names:
            causes.append(duplicate(f"{field}.name", name))
        names.add(name)
    return causes


def _validate_mutating_webhook(webhook: Object, field: str) -> list[Cause]:
    causes = _validate_webhook(webhook, field)
    return causes + _validate_choice(webhook, "reinvocationPolicy", field, REINVOCATION_POLICIES)


def _validate_webhook(webhook: Object, field: str) -> list[Cause]:
    causes = _validate_name(webhook.get("name") or "", f"{field}.name")
    for index, rule in enumerate(webhook.get("rules") or ()):
        causes += validate_rule(rule, f"{field}.rules[{index}]")
    causes += _validate_choice(webhook, "failurePolicy", field, FAILURE_POLICIES)
    causes += _validate_choice(webhook, "matchPolicy", field, MATCH_POLICIES)
    if webhook.get("sideEffects") is None:
        why = f"must specify one of {', '.join(SIDE_EFFECTS)}"
        causes.append(required(f"{field}.sideEffects", why))
    causes += _validate_choice(webhook, "sideEffects", field, SIDE_EFFECTS)
    timeout = webhook.get("timeoutSeconds")
    if timeout is not None and not 1 <= timeout <= MAX_TIMEOUT_SECONDS:
        why = "the timeout value must be between 1 and 30 seconds"
        causes.append(invalid(f"{field}.timeoutSeconds", timeout, why))
    causes += validate_label_selector(webhook.get("namespaceSelector"), f"{field}.namespaceSelector")
    causes += validate_label_selector(webhook.get("objectSelector"), f"{field}.objectSelector")
    causes += _validate_client(webhook.get("clientConfig") or {}, f"{field}.clientConfig")
    conditions = webhook.get("matchConditions") or ()
    return causes + validate_match_conditions(conditions, f"{field}.matchConditions")


def _validate_name(name: str, field: str) -> list[Cause]:
    """A webhook is named as a domain of at least three parts."""
    if not name:
        return [required(field)]
    if problems := dns_subdomain(name):
        return [invalid(field, name, ",".join(problems))]
    if name.count(".") < 2:
        why = "should be a domain with at least three segments separated by dots"
        return [invalid(field, name, why)]
    return []


def _validate_choice(webhook: Object, key: str, field: str, choices: Sequence[str]) -> list[Cause]:
    value = webhook.get(key)
    if value is None or value in choices:
        return []
    return [not_supported(f"{field}.{key}", value, choices)]


def _validate_client(config: Object, field: str) -> list[Cause]:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(field, "exactly one of url or service is required")]
    if url is not None:
        return validate_url(url, f"{field}.url")
    assert service is not None
    return validate_webhook_service(service, f"{field}.service")


def _validate_review_versions(versions: Sequence[str], field: str) -> list[Cause]:
    field = f"{field}.admissionReviewVersions"
    listed = ", ".join(REVIEW_VERSIONS)
    if not versions:
        return [required(field, f"must specify one of {listed}")]
    causes = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            causes.append(invalid(f"{field}[{index}]", version, "duplicate version"))
        else:
            causes += [invalid(f"{field}[{index}]", version, problem) for problem in dns1035_label(version)]
    if not any(version in REVIEW_VERSIONS for version in versions):
        causes.append(invalid(field, list(versions), f"must include at least one of {listed}"))
    return causes
