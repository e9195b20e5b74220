"""What the manifest for other clusters lets pipelines do is what the bootstrap policy of Proa's own lets them do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
POLICY = ROOT / "src/proa/apiserver/authorization/policy/proa.json"
PARTS = list(yaml.safe_load_all((ROOT / "examples/pipelines-elsewhere.yaml").read_text()))
Right = tuple[str, str, str, str]


def rights_of_rules(rules: list[Mapping[str, Any]]) -> Iterator[Right]:
    for rule in rules:
        yield from product(
            rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""])
        )


def rights_of_words(rules: list[str]) -> Iterator[Right]:
    for rule in rules:
        verbs, groups, resources, *names = rule.split(" ")
        groups = "" if groups == "-" else groups
        parts = (words.split(",") for words in (verbs, groups, resources, *(names or [""])))
        verb, group, resource, name = map(list, parts)
        yield from product(verb, group, resource, name)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("proa-pipelines-operator", "system:proa:controller:pipelines-operator"),
        *[
            (role, role)
            for role in (f"system:proa:{n}" for n in ("pipeline-runner", "pipelines-edit", "pipelines-view"))
        ],
    ],
)
def test_a_role_of_the_manifest_is_that_of_the_policy(name: str, own: str) -> None:
    (role,) = (part for part in PARTS if part["kind"] == "ClusterRole" and part["metadata"]["name"] == name)
    wanted = json.loads(POLICY.read_text())["clusterRoles"][own]
    assert set(rights_of_rules(role["rules"])) == set(rights_of_words(wanted["rules"]))
    labels = {label.rpartition("/")[2] for label in role["metadata"].get("labels", {})}
    assert labels == set(wanted.get("labels", []))
