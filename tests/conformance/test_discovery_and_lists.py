"""What upstream's conformance suite asks of discovery, versions, tables and pages.

Follows aggregated_discovery.go, discovery.go, server_version.go, table_conversion.go, chunking.go, field_validation.go
below test/e2e/apimachinery.
"""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
EXPECTED = (
    ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io/v1", "apiservices"),
    ("apps/v1", "deployments"),
    ("authentication.k8s.io/v1", "tokenreviews"),
    ("authorization.k8s.io/v1", "selfsubjectaccessreviews"),
    ("autoscaling/v1", "horizontalpodautoscalers"),
    ("autoscaling/v2", "horizontalpodautoscalers"),
    ("batch/v1", "jobs"),
    ("certificates.k8s.io/v1", "certificatesigningrequests"),
    ("coordination.k8s.io/v1", "leases"),
    ("discovery.k8s.io/v1", "endpointslices"),
    ("events.k8s.io/v1", "events"),
    ("networking.k8s.io/v1", "ingresses"),
    ("node.k8s.io/v1", "runtimeclasses"),
    ("policy/v1", "poddisruptionbudgets"),
    ("scheduling.k8s.io/v1", "priorityclasses"),
    ("storage.k8s.io/v1", "csinodes"),
)
"""What upstream looks for."""
TEMPLATES = "/api/v1/namespaces/default/podtemplates"
TOTAL = 400


def served(document: Any) -> set[tuple[str, str]]:
    """Return (group version, resource) of an APIGroupDiscoveryList."""
    return {
        (f"{group['metadata'].get('name', '')}/{version['version']}".lstrip("/"), resource["resource"])
        for group in document["items"]
        for version in group["versions"]
        for resource in version["resources"]
    }


def custom(group: str) -> Any:
    """Return a definition that allows everything."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"plural": "testcrds", "singular": "testcrd", "kind": "testcrd", "listKind": "testcrdList"}
    spec = {"group": group, "versions": [version], "names": names, "scope": "Namespaced"}
    return {"metadata": {"name": f"testcrds.{group}"}, "spec": spec}


class TestAggregatedDiscovery:
    """The lines on the interface differ from those on the raw document by client-go: it reads both documents."""

    def read(self, api: Any, path: str) -> set[tuple[str, str]]:
        document = api.get(path, accept=AGGREGATED)
        assert (document["kind"], document["apiVersion"]) == (
            "APIGroupDiscoveryList",
            "apidiscovery.k8s.io/v2",
        )
        return served(document)

    def test_built_in_resources(self, api: Any) -> None:
        """[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers
        [Conformance]
        [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]"""
        assert not set(EXPECTED) - self.read(api, "/apis")
        assert ("v1", "namespaces") in self.read(api, "/api")

    def test_custom_resources(self, api: Any) -> None:
        """[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs
        [Conformance]
        [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs [Conformance]"""
        api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", custom("group.example.com"))
        assert ("group.example.com/v1", "testcrds") in self.read(api, "/apis")


class TestDiscovery:
    def test_preferred_versions(self, api: Any) -> None:
        """[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]"""
        groups = api.get("/apis/")["groups"]
        assert groups
        for listed in groups:
            group = api.get(f"/apis/{listed['name']}/")
            assert group["preferredVersion"] in group["versions"]

    @pytest.mark.parametrize(("group_version", "resource"), [("v1", "namespaces"), *EXPECTED])
    def test_group_versions(self, api: Any, group_version: str, resource: str) -> None:
        """[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup
        [Conformance]"""
        found = api.get(f"/{'apis' if '/' in group_version else 'api'}/{group_version}")
        assert found["groupVersion"] == group_version
        assert resource in [entry["name"] for entry in found["resources"]]

    def test_the_servers_version(self, api: Any) -> None:
        """[sig-api-machinery] server version should find the server version [Conformance]"""
        version = api.get("/version")
        assert re.fullmatch(r"[1-9]+", version["major"])
        assert re.fullmatch(r"[0-9]+", version["minor"])


def test_no_table_of_what_is_not_stored(api: Any) -> None:
    """[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does
    not implement metadata [Conformance]"""
    review = {"spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    refused = api.expect(406, "POST", path, review, accept=TABLE)
    assert refused["reason"] == "NotAcceptable"


class TestChunking:
    @pytest.fixture
    def many(self, api: Any) -> Any:
        spec = {"containers": [{"name": "test", "image": "test2"}]}
        for i in range(TOTAL):
            api.post(TEMPLATES, {"metadata": {"name": f"template-{i:04d}"}, "template": {"spec": spec}})
        return api

    def check(self, page: Any, limit: int, found: int) -> int:
        """Check a page that comes after `found` objects; return how many there are with it."""
        assert len(page["items"]) <= limit
        names = [item["metadata"]["name"] for item in page["items"]]
        assert names == [f"template-{i:04d}" for i in range(found, found + len(names))]
        found += len(names)
        remaining = page["metadata"].get("remainingItemCount")
        assert remaining == (TOTAL - found if page["metadata"].get("continue") else None)
        return found

    def test_pages(self, many: Any) -> None:
        """[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls
        [Conformance]"""
        choose = random.Random(4)
        for _ in range(3):
            found, token, versions = 0, "", set()
            while found == 0 or token:
                limit = choose.randint(1, TOTAL // 10)
                page = many.get(f"{TEMPLATES}?limit={limit}&continue={token}")
                found = self.check(page, limit, found)
                versions.add(page["metadata"]["resourceVersion"])
                token = page["metadata"].get("continue", "")
            assert (found, len(versions)) == (TOTAL, 1)
        assert len(many.names(f"{TEMPLATES}?limit={TOTAL + 1}")) == TOTAL

    def test_a_page_of_a_version_that_was_compacted(self, many: Any) -> None:
        """[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key
        if the original version has been compacted away, though the list is inconsistent [Conformance] [Slow]"""
        tenth = TOTAL // 10
        first = many.get(f"{TEMPLATES}?limit={tenth}")
        found = self.check(first, tenth, 0)
        many.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "later"}})
        many.compact()
        expired = many.expect(
            410, "GET", f"{TEMPLATES}?limit={tenth}&continue={first['metadata']['continue']}"
        )
        assert expired["reason"] == "Expired"
        token = expired["metadata"]["continue"]
        second = many.get(f"{TEMPLATES}?limit={tenth}&continue={token}")
        assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
        assert len(second["items"]) == tenth
        found = self.check(second, tenth, found)
        page = second
        while page["metadata"].get("continue"):
            page = many.get(f"{TEMPLATES}?limit={tenth}&continue={page['metadata']['continue']}")
            assert page["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
            found = self.check(page, tenth, found)
        assert found == TOTAL


class TestFieldValidation:
    BODY = b"""{"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "my-dep", %s"labels": {"app": "nginx"}},
        "spec": {%s"selector": {"matchLabels": {"app": "nginx"}},
            "template": {"metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}}}"""

    def refusal(self, api: Any, metadata: bytes, spec: bytes) -> str:
        path = "/apis/apps/v1/namespaces/default/deployments?fieldManager=mgr&fieldValidation=Strict"
        return str(api.expect(400, "POST", path, self.BODY % (metadata, spec))["message"])

    def test_unknown_and_duplicate_fields(self, api: Any) -> None:
        """[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object
        [Conformance]"""
        message = self.refusal(api, b"", b'"unknownField": "foo", "replicas": 2, "replicas": 3, ')
        assert (
            'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"'
            in message
        )

    def test_unknown_metadata(self, api: Any) -> None:
        """[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object
        [Conformance]"""
        message = self.refusal(api, b'"unknownMeta": "foo", ', b"")
        assert 'strict decoding error: unknown field "metadata.unknownMeta"' in message
