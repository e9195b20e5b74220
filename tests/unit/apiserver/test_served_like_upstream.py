"""Discovery says of every built-in resource what the API server of Kubernetes 1.36 says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TABLE = Path(__file__).with_name("data") / "served-by-kubernetes-1.36.txt"
ALL_VERBS = "create,delete,deletecollection,get,list,patch,update,watch"
NOT_YET = {
    "v1 bindings",
    "v1 componentstatuses",
    "authentication.k8s.io/v1 tokenreviews",
    "autoscaling/v1",
    "admissionregistration.k8s.io/v1 mutatingadmissionpolicies",
    "admissionregistration.k8s.io/v1 mutatingadmissionpolicybindings",
    "admissionregistration.k8s.io/v1 validatingadmissionpolicies",
    "admissionregistration.k8s.io/v1 validatingadmissionpolicies/status",
    "admissionregistration.k8s.io/v1 validatingadmissionpolicybindings",
    "apiextensions.k8s.io/v1",
    "apiregistration.k8s.io/v1",
    "certificates.k8s.io/v1",
}
"""Group versions, or "group/version name", that need not be served yet; where they are, they are as upstream's."""


def read_table() -> dict[str, dict[str, list[str]]]:
    """Return the rows by group version and name."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in TABLE.read_text().splitlines():
        if not line.startswith("#"):
            group_version, name, *facts = line.split()
            found.setdefault(group_version, {})[name] = facts
    return found


def facts_of(resource: dict[str, Any]) -> list[str]:
    """Return what an APIResource says, as the table has it."""
    body = [resource.get("group", ""), resource.get("version", ""), resource["kind"]]
    verbs = ",".join(resource["verbs"])
    return [
        "/".join(part for part in body if part),
        "namespaced" if resource["namespaced"] else "cluster",
        resource["singularName"] or "-",
        ",".join(resource.get("shortNames", ())) or "-",
        ",".join(resource.get("categories", ())) or "-",
        resource.get("storageVersionHash", "-"),
        "*" if verbs == ALL_VERBS else verbs,
    ]


@pytest.mark.parametrize("group_version", read_table())
def test_a_group_version_has_the_resources_that_upstream_serves(make_api: Any, group_version: str) -> None:
    root = "api" if group_version == "v1" else "apis"
    answer = make_api().get(f"/{root}/{group_version}")
    if answer.status == 404 and group_version in NOT_YET:
        return
    assert answer.status == 200
    wanted = read_table()[group_version]
    found = {resource["name"]: facts_of(resource) for resource in answer.json["resources"]}
    missing = {name for name in wanted.keys() - found.keys() if f"{group_version} {name}" not in NOT_YET}
    assert not missing
    assert found == {name: facts for name, facts in wanted.items() if name in found}
