"""Discovery says of every built-in resource what the API server of Kubernetes 1.36 says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TABLE = Path(__file__).with_name("data") / "served-by-kubernetes-1.36.txt"
ALL_VERBS = "create,delete,deletecollection,get,list,patch,update,watch"


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
    assert answer.status == 200
    wanted = read_table()[group_version]
    found = {resource["name"]: facts_of(resource) for resource in answer.json["resources"]}
    assert found == wanted
