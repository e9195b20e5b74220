"""What the manifests for other clusters let operators do is what the bootstrap policy of Proa's own lets them do."""

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
PARTS = [
    part
    for area in ("pipelines", "tuning", "training", "serving")
    for part in yaml.safe_load_all((ROOT / f"examples/{area}-elsewhere.yaml").read_text())
]
Right = tuple[str, str, str, str]


def rights_of_rules(rules: list[Mapping[str, Any]]) -> Iterator[Right]:
    for rule in rules:
        yield from product(
            rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""])
        )


def rights_of_words(rules: list[str]) -> Iterator[Right]:
    for rule in rules:
        verbs, groups, resources, *names = rule.split(" ")
        parts = (words.split(",") for words in (verbs, groups, resources, *(names or [""])))
        verb, group, resource, name = map(list, parts)
        yield from product(verb, ["" if one == "-" else one for one in group], resource, name)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        *[
            (f"proa-{area}-operator", f"system:proa:controller:{area}-operator")
            for area in ("pipelines", "tuning", "training", "serving")
        ],
        *[
            (f"system:proa:{name}", f"system:proa:{name}")
            for name in (
                "pipeline-runner",
                "pipelines-edit",
                "pipelines-view",
                "tuning-edit",
                "tuning-view",
                "training-edit",
                "training-view",
                "cluster-training-runtimes-view",
                "serving-edit",
                "serving-view",
                "cluster-serving-runtimes-view",
            )
        ],
    ],
)
def test_a_role_of_the_manifest_is_that_of_the_policy(name: str, own: str) -> None:
    (role,) = (part for part in PARTS if part["kind"] == "ClusterRole" and part["metadata"]["name"] == name)
    wanted = json.loads(POLICY.read_text())["clusterRoles"][own]
    assert set(rights_of_rules(role["rules"])) == set(rights_of_words(wanted["rules"]))
    labels = {label.rpartition("/")[2] for label in role["metadata"].get("labels", {})}
    assert labels == set(wanted.get("labels", []))
