"""OpenAPI: what kubectl looks up there, and that documents hold together."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proa.apiserver import openapi_schemas
from proa.apiserver.openapi import Documents
from proa.apiserver.resources import DEFINITIONS

COMPONENTS = "#/components/schemas/"


@pytest.fixture(scope="module")
def documents() -> Documents:
    return Documents(DEFINITIONS)


def load(documents: Documents, path: str) -> Any:
    return orjson.loads(documents.document(path))


def references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {found for item in node for found in references(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own | {found for value in node.values() for found in references(value)}


def test_the_index_names_every_group_version(documents: Documents) -> None:
    paths = orjson.loads(documents.index())["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/batch/v1"} <= paths.keys()
    assert paths["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")


def test_the_issuer_of_tokens_has_documents(documents: Documents) -> None:
    document = orjson.loads(documents.document("openid/v1/jwks"))
    operation = document["paths"]["/openid/v1/jwks/"]["get"]
    assert operation["operationId"] == "getServiceAccountIssuerOpenIDKeyset"
    assert ".well-known/openid-configuration" in orjson.loads(documents.index())["paths"]


def test_every_reference_leads_somewhere(documents: Documents) -> None:
    for path in documents.paths:
        document = load(documents, path)
        names = document["components"]["schemas"].keys()
        assert {r.removeprefix(COMPONENTS) for r in references(document)} <= names


@pytest.mark.parametrize("method", ["put", "patch"])
def test_kubectl_finds_field_validation_on_writes(documents: Documents, method: str) -> None:
    item = load(documents, "apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    operation = item[method]
    assert {"dryRun", "fieldManager", "fieldValidation"} <= {p["name"] for p in operation["parameters"]}
    kind = {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert operation["x-kubernetes-group-version-kind"] == kind


def test_kubectl_finds_merge_keys_and_kinds(documents: Documents) -> None:
    schemas = load(documents, "apis/apps/v1")["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["items"] == {"$ref": COMPONENTS + "io.k8s.api.core.v1.Container"}
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [
        {"group": "apps", "kind": "Deployment", "version": "v1"}
    ]
    strategy = schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]
    assert strategy["x-kubernetes-patch-strategy"] == "retainKeys"


def test_descriptions_are_left_out_where_they_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_schemas, "find_descriptions", dict)
    pod = load(Documents(DEFINITIONS), "api/v1")["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
    assert "description" not in pod
    assert pod["properties"]["spec"] == {"$ref": COMPONENTS + "io.k8s.api.core.v1.PodSpec"}


def test_swagger_has_definitions_without_what_it_does_not_know(documents: Documents) -> None:
    swagger = orjson.loads(documents.version2())
    assert swagger["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] == "string"
    names = swagger["definitions"].keys()
    assert {r.removeprefix("#/definitions/") for r in references(swagger)} <= names
