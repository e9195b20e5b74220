"""Say what is wrong with a selector and the template it must match, as ReplicaSet and Deployment have them.

Follows pkg/apis/apps/validation ValidatePodTemplateSpecForReplicaSet.
"""

from __future__ import annotations

from proa.apiserver.resources.core.pod_rules import validate_pod_template
from proa.apiserver.resources.core.pod_warnings import name_warnings, template_warnings
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.selectors import selector_from_dict
from proa.objects.validation import forbidden, invalid, not_supported, required
from proa.objects.validation_selectors import is_empty_selector, validate_label_selector


def validate_selector_and_template(spec: Object) -> list[Cause]:
    """Check spec.selector and spec.template of a kind whose pods are always restarted."""
    selector, template = spec.get("selector"), spec.get("template") or {}
    causes: list[Cause] = []
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += validate_label_selector(selector, "spec.selector")
        if is_empty_selector(selector):
            causes.append(invalid("spec.selector", selector, "empty selector is invalid for deployment"))
    try:
        causes += validate_selected(selector, template, "spec.template")
    except BadRequest:
        return [*causes, invalid("spec.selector", selector, "invalid label selector")]
    causes += validate_pod_template(template, "spec.template")
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") != "Always":
        causes.append(
            not_supported("spec.template.spec.restartPolicy", pod.get("restartPolicy", ""), ("Always",))
        )
    if "activeDeadlineSeconds" in pod:
        detail = "activeDeadlineSeconds in ReplicaSet is not Supported"
        causes.append(forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return causes


def validate_selected(selector: Object | None, template: Object, field: str) -> list[Cause]:
    """Check that the selector (None selects nothing) picks pods of the template; raise BadRequest for none at all."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is not None and selector_from_dict(selector).matches(labels):
        return []
    detail = "`selector` does not match template `labels`"
    return [invalid(f"{field}.metadata.labels", labels or None, detail)]


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of a name that no pod can have, and of what is doubtful in the template."""
    said = name_warnings(new) if old is None else []
    before = (old["spec"].get("template") or {}) if old else None
    return said + template_warnings(new["spec"].get("template") or {}, "spec.template", before)
