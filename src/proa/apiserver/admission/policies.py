"""Put a write through the admission policies: the plugins MutatingAdmissionPolicy and ValidatingAdmissionPolicy.

What judges (policies/mutating.py, policies/validating.py), and CEL with it, is imported when the first policy concerns
a request.
"""

from __future__ import annotations

from collections.abc import Awaitable

from proa.apiserver.registry.attributes import Attributes


def admit(attributes: Attributes) -> Awaitable[None] | None:
    """Let policies change the object, one after the other; costs next to nothing where there are none."""
    policies = attributes.catalog.policies
    if policies is None or attributes.obj is None:
        return None
    found = policies.mutating.find(attributes.definition)
    if not found:
        return None
    from proa.apiserver.policies.mutating import change_all

    return change_all(found, attributes)


def validate(attributes: Attributes) -> Awaitable[None] | None:
    """Let policies refuse the write."""
    policies = attributes.catalog.policies
    if policies is None:
        return None
    found = policies.validating.find(attributes.definition)
    if not found:
        return None
    from proa.apiserver.policies.validating import check_all

    return check_all(found, attributes)
