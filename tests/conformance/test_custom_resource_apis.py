"""What upstream's conformance suite asks of CustomResourceDefinitions and the resources that they define."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FOOS = "/apis/stable.example.com/v1/namespaces/default/foos"
APPLY = "application/apply-patch+yaml"
ANYTHING: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
BARS = {
    "description": "Foo CRD for Testing",
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "description": "List of Bars and their specs.",
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"description": "Name of Bar.", "type": "string"},
                            "age": {"description": "Age of Bar.", "type": "string"},
                        },
                    },
                }
            },
        },
        "status": {"description": "Status of Foo", "type": "object"},
    },
}


def make_version(name: str = "v1", schema: Any = None, *, storage: bool = True, **rest: Any) -> Any:
    schema = ANYTHING if schema is None else schema
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **rest}


def make_definition(
    *versions: Any, group: str = "stable.example.com", kind: str = "Foo", **metadata: Any
) -> Any:
    plural = kind.lower() + "s"
    return {
        "metadata": {"name": f"{plural}.{group}", **metadata},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": list(versions) or [make_version()],
        },
    }


def make_foo(name: str = "foo", version: str = "v1", **fields: Any) -> Any:
    return {
        "apiVersion": f"stable.example.com/{version}",
        "kind": "Foo",
        "metadata": {"name": name},
        **fields,
    }


class TestDefinitions:
    def test_watch(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch
        watch on custom resource definition objects [Conformance]"""
        api.post(DEFINITIONS, make_definition())
        first = api.post(FOOS, make_foo("a"))
        api.post(FOOS, make_foo("b"))
        api.patch(f"{FOOS}/a", {"data": 1}, "merge")
        api.delete(f"{FOOS}/a")
        api.delete(f"{FOOS}/b")
        assert api.history(FOOS, first, 4) == [
            ("ADDED", "b"),
            ("MODIFIED", "a"),
            ("DELETED", "a"),
            ("DELETED", "b"),
        ]

    def test_create_and_delete(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple
        CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]"""
        made = api.post(DEFINITIONS, make_definition())
        established = [c["status"] for c in made["status"]["conditions"] if c["type"] == "Established"]
        assert established == ["True"]
        assert api.delete(f"{DEFINITIONS}/foos.stable.example.com")["metadata"]["deletionTimestamp"]

    def test_list(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple
        CustomResourceDefinition listing custom resource definition objects works [Conformance]"""
        for index in range(10):
            api.post(DEFINITIONS, make_definition(kind=f"Foo{chr(97 + index)}", labels={"list": "x"}))
        api.post(DEFINITIONS, make_definition(kind="Bar"))
        assert len(api.names(f"{DEFINITIONS}?labelSelector=list%3Dx")) == 10
        api.delete(f"{DEFINITIONS}?labelSelector=list%3Dx")
        going = api.get(f"{DEFINITIONS}?labelSelector=list%3Dx")["items"]
        assert all("deletionTimestamp" in item["metadata"] for item in going)

    def test_status(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple
        CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works
        [Conformance]"""
        api.post(DEFINITIONS, make_definition())
        path = f"{DEFINITIONS}/foos.stable.example.com/status"
        found = api.get(path)
        condition = {
            "type": "StatusUpdate",
            "status": "True",
            "reason": "E2E",
            "message": "Set from e2e test",
        }
        found["status"]["conditions"].append(condition)
        updated = api.put(path, found)
        assert updated["status"]["conditions"][-1]["type"] == "StatusUpdate"
        patch = {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"conditions": [{**condition, "message": "updated"}]},
        }
        assert api.patch(path, patch, "merge")["status"]["conditions"][0]["message"] == "updated"

    def test_discovery(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom
        resource definition resources in discovery documents [Conformance]"""
        assert "apiextensions.k8s.io" in [group["name"] for group in api.get("/apis")["groups"]]
        versions = api.get("/apis/apiextensions.k8s.io")["versions"]
        assert {"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"} in versions
        names = [r["name"] for r in api.get("/apis/apiextensions.k8s.io/v1")["resources"]]
        assert "customresourcedefinitions" in names

    def test_defaulting(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting
        for requests and from storage works [Conformance]"""

        def schema(**defaults: str) -> Any:
            fields = {key: {"type": "string"} for key in ("a", "b", "c")}
            for key, value in defaults.items():
                fields[key] = {"type": "string", "default": value}
            return {"type": "object", "properties": fields}

        path = f"{DEFINITIONS}/foos.stable.example.com"
        made = api.post(DEFINITIONS, make_definition(make_version(schema=schema())))
        assert "a" not in api.post(FOOS, make_foo())
        made["spec"]["versions"] = [make_version(schema=schema(a="A"))]
        made = api.put(path, made)
        assert api.get(f"{FOOS}/foo")["a"] == "A"
        assert api.post(FOOS, make_foo("second"))["a"] == "A"
        made["spec"]["versions"] = [make_version(schema=schema(a="A", b="B"))]
        api.put(path, made)
        assert (api.get(f"{FOOS}/foo")["b"], api.get(f"{FOOS}/second")["b"]) == ("B", "B")


def test_selectable_fields(api: Any) -> None:
    """[sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST
    list and watch custom resources matching the field selector [Conformance]"""

    def schema(*names: str) -> Any:
        return {"type": "object", "properties": {name: {"type": "string"} for name in names}}

    api.post(
        DEFINITIONS,
        make_definition(
            make_version("v1", schema("hostname", "color"), selectableFields=[{"jsonPath": ".color"}]),
            make_version(
                "v2", schema("hostname", "color"), storage=False, selectableFields=[{"jsonPath": ".hostname"}]
            ),
        ),
    )
    first = api.post(FOOS, make_foo("a", color="blue", hostname="one"))
    api.post(FOOS, make_foo("b", color="green", hostname="one"))
    second = FOOS.replace("/v1/", "/v2/")
    assert api.names(f"{FOOS}?fieldSelector=color%3Dblue") == ["a"]
    assert api.names(f"{second}?fieldSelector=hostname%3Done") == ["a", "b"]
    assert api.send("GET", f"{second}?fieldSelector=color%3Dblue")[0] == 400
    api.patch(f"{FOOS}/b", {"color": "blue"}, "merge")
    api.delete(f"{FOOS}/a")
    expected = [("ADDED", "b"), ("DELETED", "a")]
    assert api.history(f"{FOOS}?fieldSelector=color%3Dblue", first, 2) == expected


class TestPublishedOpenApi:
    def schemas(self, api: Any, version: str = "v1", group: str = "stable.example.com") -> Any:
        return api.get(f"/openapi/v3/apis/{group}/{version}")["components"]["schemas"]

    def swagger(self, api: Any) -> Any:
        return api.get("/openapi/v2")["definitions"]

    def test_validation_schema(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation
        schema [Conformance]"""
        api.post(DEFINITIONS, make_definition(make_version(schema=BARS)))
        for found in (self.schemas(api), self.swagger(api)):
            foo = found["com.example.stable.v1.Foo"]
            assert foo["description"] == "Foo CRD for Testing"
            bars = foo["properties"]["spec"]["properties"]["bars"]
            assert bars["items"]["properties"]["name"]["description"] == "Name of Bar."
            assert bars["items"]["required"] == ["name"]

    def test_without_validation_schema(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation
        schema [Conformance]"""
        api.post(DEFINITIONS, make_definition())
        assert self.schemas(api)["com.example.stable.v1.Foo"]["x-kubernetes-preserve-unknown-fields"] is True
        kinds = self.swagger(api)["com.example.stable.v1.Foo"]["x-kubernetes-group-version-kind"]
        assert kinds == [{"group": "stable.example.com", "kind": "Foo", "version": "v1"}]

    @pytest.mark.parametrize("where", ["root", "embedded"])
    def test_preserving_unknown_fields(self, api: Any, where: str) -> None:
        """[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown
        fields at the schema root [Conformance]
        [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown
        fields in an embedded object [Conformance]"""
        schema = ANYTHING if where == "root" else {"type": "object", "properties": {"spec": ANYTHING}}
        api.post(DEFINITIONS, make_definition(make_version(schema=schema)))
        extra = {"spec": {"a": {"b": [None]}}}
        if where == "root":
            extra["whatever"] = {"c": {}}
        made = api.post(f"{FOOS}?fieldValidation=Strict", make_foo(**extra))
        assert {key: made[key] for key in extra} == extra
        assert "com.example.stable.v1.Foo" in self.schemas(api)

    def test_several_groups_kinds_and_versions(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of
        different groups [Conformance]
        [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same
        group but different versions [Conformance]
        [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same
        group and version but different kinds [Conformance]"""
        api.post(DEFINITIONS, make_definition(make_version("v1"), make_version("v2", BARS, storage=False)))
        api.post(DEFINITIONS, make_definition(make_version(schema=BARS), kind="Bar"))
        api.post(DEFINITIONS, make_definition(make_version(schema=BARS), group="other.example.com"))
        assert {"com.example.stable.v1.Foo", "com.example.stable.v1.Bar"} <= self.schemas(api).keys()
        assert "com.example.stable.v2.Foo" in self.schemas(api, "v2")
        assert "com.example.other.v1.Foo" in self.schemas(api, group="other.example.com")

    def test_a_version_renamed_or_no_longer_served(self, api: Any) -> None:
        """[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when
        one version gets renamed [Conformance]
        [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when
        one version gets changed to not be served [Conformance]"""
        made = api.post(
            DEFINITIONS, make_definition(make_version("v1"), make_version("v2", BARS, storage=False))
        )
        path = f"{DEFINITIONS}/foos.stable.example.com"
        made["spec"]["versions"][1]["name"] = "v4"
        made = api.put(path, made)
        assert "com.example.stable.v4.Foo" in self.schemas(api, "v4")
        assert "com.example.stable.v2.Foo" not in self.swagger(api)
        made["spec"]["versions"][1]["served"] = False
        api.put(path, made)
        assert "com.example.stable.v4.Foo" not in self.swagger(api)
        assert "com.example.stable.v1.Foo" in self.schemas(api)


class TestFieldValidation:
    def strict(self, api: Any, body: Any, code: int) -> Any:
        return api.expect(code, "POST", f"{FOOS}?fieldValidation=Strict", body)

    def test_no_schema(self, api: Any) -> None:
        """[sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation
        schema [Conformance]"""
        api.post(DEFINITIONS, make_definition())
        path = f"{FOOS}/foo?fieldManager=x&fieldValidation=Strict"
        api.expect(201, "PATCH", path, make_foo(unknown={"a": 1}), APPLY)

    def test_valid(self, api: Any) -> None:
        """[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema
        [Conformance]"""
        api.post(DEFINITIONS, make_definition(make_version(schema=BARS)))
        foo = make_foo(spec={"bars": [{"name": "test-bar"}]})
        api.expect(201, "PATCH", f"{FOOS}/foo?fieldManager=x&fieldValidation=Strict", foo, APPLY)

    def test_extra_properties(self, api: Any) -> None:
        """[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with
        validation schema [Conformance]"""
        api.post(DEFINITIONS, make_definition(make_version(schema=BARS)))
        foo = make_foo(spec={"extraProperty": "x", "bars": [{"name": "test-bar"}]})
        answer = api.expect(500, "PATCH", f"{FOOS}/foo?fieldManager=x&fieldValidation=Strict", foo, APPLY)
        assert "field not declared in schema" in answer["message"]
        assert 'unknown field "spec.extraProperty"' in self.strict(api, foo, 400)["message"]

    def test_duplicates(self, api: Any) -> None:
        """[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields
        [Conformance]"""
        schema = {
            "type": "object",
            "properties": {"spec": {**ANYTHING, "properties": {"foo": {"type": "string"}}}},
        }
        api.post(DEFINITIONS, make_definition(make_version(schema=schema)))
        body = orjson.dumps(make_foo(spec={"foo": "a", "unknown": "b"})).replace(
            b'"foo":"a"', b'"foo":"a","foo":"c"'
        )
        answer = self.strict(api, body, 400)
        assert 'strict decoding error: duplicate field "spec.foo"' in answer["message"]

    def test_unknown_metadata(self, api: Any) -> None:
        """[sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded
        object of a CR [Conformance]"""
        template = {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "properties": {"spec": {"type": "object"}},
        }
        spec = {"type": "object", "properties": {"template": template}}
        api.post(
            DEFINITIONS,
            make_definition(make_version(schema={"type": "object", "properties": {"spec": spec}})),
        )
        embedded = {
            "apiVersion": "v1",
            "kind": "Sub",
            "metadata": {"name": "s", "unknownSubMeta": "x"},
            "spec": {},
        }
        foo = make_foo(spec={"template": embedded})
        foo["metadata"]["unknownMeta"] = "x"
        message = self.strict(api, foo, 400)["message"]
        for path in ("metadata.unknownMeta", "spec.template.metadata.unknownSubMeta"):
            assert f'unknown field "{path}"' in message


class Webhook:
    """Takes the place of the connection to a conversion webhook, and converts as upstream's test image does."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def post(self, target: Any, body: bytes, timeout_seconds: int) -> bytes:
        review = orjson.loads(body)
        request = review["request"]
        self.asked.append(len(request["objects"]))
        converted = [self.convert(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        review["response"] = {
            "uid": request["uid"],
            "result": {"status": "Success"},
            "convertedObjects": converted,
        }
        return orjson.dumps(review)

    def convert(self, obj: Any, version: str) -> Any:
        if version.endswith("/v2"):
            host, _, port = obj.pop("hostPort", ":").partition(":")
            return {**obj, "apiVersion": version, "host": host, "port": port}
        host_port = f"{obj.pop('host', '')}:{obj.pop('port', '')}"
        return {**obj, "apiVersion": version, "hostPort": host_port}

    async def close(self) -> None: ...


class TestConversionWebhook:
    @pytest.fixture
    def webhook(self, api: Any) -> Webhook:
        made = Webhook()
        api.server.webhooks._client = made
        strings = {"type": "string"}
        first = {"type": "object", "properties": {"hostPort": strings}}
        second = {"type": "object", "properties": {"host": strings, "port": strings}}
        definition = make_definition(make_version("v1", first), make_version("v2", second, storage=False))
        definition["spec"]["conversion"] = {
            "strategy": "Webhook",
            "webhook": {
                "conversionReviewVersions": ["v1", "v1beta1"],
                "clientConfig": {"url": "https://webhook.example/crdconvert"},
            },
        }
        api.post(DEFINITIONS, definition)
        return made

    def test_convert(self, api: Any, webhook: Webhook) -> None:
        """[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert
        from CR v1 to CR v2 [Conformance]"""
        api.post(FOOS, make_foo(hostPort="localhost:8080"))
        second = FOOS.replace("/v1/", "/v2/")
        found = api.get(f"{second}/foo")
        assert (found["apiVersion"], found["host"], found["port"]) == (
            "stable.example.com/v2",
            "localhost",
            "8080",
        )
        api.patch(f"{second}/foo", {"port": "9090"}, "merge")
        assert api.get(f"{FOOS}/foo")["hostPort"] == "localhost:9090"

    def test_a_mixed_list(self, api: Any, webhook: Webhook) -> None:
        """[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert a
        non homogeneous list of CRs [Conformance]"""
        api.post(FOOS, make_foo("one", hostPort="a:1"))
        path = f"{DEFINITIONS}/foos.stable.example.com"
        definition = api.get(path)
        for version in definition["spec"]["versions"]:
            version["storage"] = version["name"] == "v2"
        api.put(path, definition)
        second = FOOS.replace("/v1/", "/v2/")
        api.post(second, make_foo("two", "v2", host="b", port="2"))
        webhook.asked.clear()
        assert [item["hostPort"] for item in api.get(FOOS)["items"]] == ["a:1", "b:2"]
        assert [item["host"] for item in api.get(second)["items"]] == ["a", "b"]
        assert webhook.asked == [1, 1]

    def test_failures(self, api: Any, webhook: Webhook) -> None:
        """What the webhook says of a failure, and what it may not change, is told to the client."""
        api.post(FOOS, make_foo(hostPort="a:1"))

        def rename(obj: Any, version: str) -> Any:
            return {**obj, "apiVersion": version, "metadata": {**obj["metadata"], "name": "other"}}

        webhook.convert = rename  # type: ignore[method-assign]
        _, answer = api.send("GET", f"{FOOS.replace('/v1/', '/v2/')}/foo")
        assert answer["message"] == (
            "conversion webhook for stable.example.com/v1, Kind=Foo returned invalid object at index 0: must have the "
            "same name: foo != other"
        )
