"""Say what the author of a Job may not have meant, though it is allowed (pkg/api/job/warnings.go)."""

from __future__ import annotations

from proa.apiserver.resources.core.pod_warnings import name_warnings, template_warnings
from proa.client.protocol import Object

MANY, MANY_AT_ONCE = 100_000, 10_000
TOO_MANY = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes "
    "might not be able to track completedIndexes when a big number of indexes fail"
)


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of a name that no pod can have, and of what is doubtful in the spec."""
    said = name_warnings(new) if old is None else []
    return said + job_spec_warnings(new["spec"], "spec", old["spec"] if old else None)


def job_spec_warnings(spec: Object, path: str, old: Object | None) -> list[str]:
    """Warn of an indexed job that is too large to follow, and of the template."""
    said: list[str] = []
    is_large = spec.get("completions", 0) > MANY and spec.get("parallelism", 0) > MANY_AT_ONCE
    if is_large and spec.get("completionMode") == "Indexed":
        said.append(f"{path}: {TOO_MANY}")
    before = (old.get("template") or {}) if old else None
    return said + template_warnings(spec.get("template") or {}, f"{path}.template", before)
