"""The generated table gives the schema of every built-in kind, lazily."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proa.objects.schemas.load import find_definition_name, schema_for_kind, schema_named

ROOT = Path(__file__).parents[4]


def test_table_is_what_the_generator_writes() -> None:
    checked = subprocess.run([sys.executable, ROOT / "tools/generate_schemas.py", "--check"], check=False)
    assert checked.returncode == 0, "run tools/generate_schemas.py"


def test_kinds_are_found_by_api_version_and_name() -> None:
    assert schema_for_kind("apps/v1", "Deployment") is schema_named("io.k8s.api.apps.v1.Deployment")
    assert find_definition_name("v9", "Boat") is None
    with pytest.raises(KeyError):
        schema_named("io.k8s.api.core.v1.Boat")


def test_lists_know_how_they_merge() -> None:
    containers = schema_named("io.k8s.api.core.v1.PodSpec").properties["containers"]
    assert (containers.merge_key, containers.patch_strategy) == ("name", ("merge",))
    assert (containers.list_type, containers.list_map_keys) == ("map", ("name",))
    assert containers.items is schema_named("io.k8s.api.core.v1.Container")
    volumes = schema_named("io.k8s.api.core.v1.PodSpec").properties["volumes"]
    assert volumes.patch_strategy == ("merge", "retainKeys")


def test_a_field_that_refers_to_a_struct_keeps_its_own_merge_facts() -> None:
    strategy = schema_named("io.k8s.api.apps.v1.DeploymentSpec").properties["strategy"]
    assert strategy.patch_strategy == ("retainKeys",)
    assert "rollingUpdate" in strategy.properties
    assert schema_named("io.k8s.api.apps.v1.DeploymentStrategy").patch_strategy == ()


@pytest.mark.parametrize(
    ("definition", "field", "type", "format"),
    [
        ("io.k8s.api.core.v1.ContainerPort", "containerPort", "integer", "int32"),
        ("io.k8s.api.core.v1.PodSpec", "terminationGracePeriodSeconds", "integer", "int64"),
        ("io.k8s.api.core.v1.ServicePort", "targetPort", "int-or-string", ""),
        ("io.k8s.api.core.v1.EmptyDirVolumeSource", "sizeLimit", "quantity", ""),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "creationTimestamp", "string", "date-time"),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry", "fieldsV1", "object", ""),
        ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps", "default", "any", ""),
    ],
)
def test_fields_have_upstreams_types_again(definition: str, field: str, type: str, format: str) -> None:
    node = schema_named(definition).properties[field]
    assert (node.type, node.format) == (type, format)


def test_recursive_definitions_end_nowhere_and_cost_nothing() -> None:
    props = schema_named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    assert props.properties["properties"].values is props
