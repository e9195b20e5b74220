"""One resource, stored in one version and served in several: every verb, in each of them.

The kind is made up: a Sail has an area in v1 ("3x4") and a width and a height in v2. It is tried both as built-in
kinds are (rules on the stored version, a converter that answers at once) and as custom ones (rules on the served
version, a converter that waits), and with objects that were stored in a version that is the stored one no more.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from proa.apiserver.registry.attributes import Plugin
from proa.apiserver.registry.conversion import Conversion, make_conversion
from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.objects.errors import ServiceUnavailable
from proa.objects.resource import Resource
from proa.objects.schemas.load import schema_named
from proa.objects.schemas.schema import Schema
from proa.objects.validation import invalid

from .conftest import watching

V1 = Resource("boats.test", "v1", "sails", "Sail")
V2 = Resource("yachts.test", "v2", "sails", "Sail")
OLD = "/apis/boats.test/v1/namespaces/default/sails"
NEW = "/apis/yachts.test/v2/namespaces/default/sails"
STRING, INTEGER = Schema("string"), Schema("integer")


def schema_of(**spec: Schema) -> Schema:
    properties = {
        "kind": STRING,
        "apiVersion": STRING,
        "metadata": schema_named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
        "spec": Schema("object", {**spec, "replicas": INTEGER, "colour": STRING}),
        "status": Schema("object", {"replicas": INTEGER}),
    }
    return Schema("object", properties)


def to_v2(obj):
    width, _, height = obj["spec"].pop("area", "0x0").partition("x")
    obj["spec"] |= {"width": int(width), "height": int(height)}
    return obj


def to_v1(obj):
    spec = obj["spec"]
    spec["area"] = f"{spec.pop('width', 0)}x{spec.pop('height', 0)}"
    return obj


def default(obj):
    obj.setdefault("spec", {}).setdefault("colour", "white")


def area_of(obj):
    return obj["spec"].get("area") or f"{obj['spec']['width']}x{obj['spec']['height']}"


def validate(obj):
    return [invalid("spec.area", area_of(obj), "is too much")] if area_of(obj) == "9x9" else []


V1_DEFINITION = ResourceDefinition(
    resource=V1,
    singular="sail",
    schema=schema_of(area=STRING),
    subresources=(
        Subresource("status", "Sail", ("get", "patch", "update")),
        Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling/v1"),
    ),
    default=default,
    validate=validate,
    columns=(Column("Name", format="name"), Column("Area")),
    cells=lambda obj, now: (obj["metadata"]["name"], area_of(obj)),
    field_selectors={"spec.area": area_of},
    scale_paths=(".spec.replicas", ".status.replicas", ".spec.selector"),
)


async def convert_later(objects, to):
    await asyncio.sleep(0)
    return make_conversion(V1, V2, to_v1, to_v2).convert(objects, to)


def definitions(hub):
    """Return v1, which is stored, and v2 of it."""
    served = {"resource": V2, "schema": schema_of(width=INTEGER, height=INTEGER)}
    if hub == "stored":
        return V1_DEFINITION, replace(
            V1_DEFINITION, **served, conversion=make_conversion(V1, V2, to_v1, to_v2)
        )
    conversion = Conversion(V1, convert_later, "served")
    return replace(V1_DEFINITION, conversion=conversion), replace(
        V1_DEFINITION, **served, conversion=conversion
    )


@pytest.fixture(params=["stored", "served"])
def hub(request):
    return request.param


@pytest.fixture
def sails(api, hub):
    for definition in definitions(hub):
        api.server.catalog.add(definition)
    return api


def sail(name="jib", **spec):
    return {"metadata": {"name": name}, "spec": spec}


def test_what_is_written_in_one_version_is_read_in_each(sails):
    made = sails.post(NEW, sail(width=3, height=4))
    assert made.status == 201
    assert (made.json["apiVersion"], made.json["spec"]) == (
        "yachts.test/v2",
        {"width": 3, "height": 4, "colour": "white"},
    )
    old = sails.get(f"{OLD}/jib").json
    assert (old["apiVersion"], old["spec"]) == ("boats.test/v1", {"area": "3x4", "colour": "white"})
    assert sails.get(f"{NEW}/jib").json == made.json
    assert old["metadata"] == made.json["metadata"]
    entry = sails.store.get("/registry/boats.test/sails/default/jib")
    assert entry.value == sails.get(f"{OLD}/jib").raw


def test_an_update_in_another_version_reaches_the_stored_object(sails):
    sails.post(OLD, sail(area="3x4"))
    seen = sails.get(f"{NEW}/jib").json
    seen["spec"]["height"] = 7
    assert sails.put(f"{NEW}/jib", seen).json["spec"]["height"] == 7
    assert sails.get(f"{OLD}/jib").json["spec"]["area"] == "3x7"
    stale = sails.put(f"{NEW}/jib", seen)
    assert stale.status == 409
    same = sails.get(f"{NEW}/jib").json
    assert sails.put(f"{NEW}/jib", same).json == same


def test_patches_see_the_version_that_they_are_sent_to(sails):
    sails.post(OLD, sail(area="3x4"))
    assert sails.patch(f"{NEW}/jib", {"spec": {"width": 5}}).json["spec"]["width"] == 5
    moved = sails.patch(f"{NEW}/jib", [{"op": "replace", "path": "/spec/height", "value": 6}], "json")
    assert moved.json["apiVersion"] == "yachts.test/v2"
    assert sails.get(f"{OLD}/jib").json["spec"]["area"] == "5x6"


def test_apply_converts_and_its_entry_has_the_version_of_the_request(sails):
    def apply(path, version, **spec):
        config = {"apiVersion": version, "kind": "Sail", **sail(**spec)}
        return asyncio.run(
            sails.ask(
                "PATCH",
                f"{path}/jib?fieldManager=me&force=true",
                config,
                content_type="application/apply-patch+yaml",
            )
        )

    assert apply(NEW, "yachts.test/v2", width=1, height=2).status == 201
    assert sails.get(f"{OLD}/jib").json["spec"]["area"] == "1x2"
    again = apply(NEW, "yachts.test/v2", width=8, height=2)
    assert (again.status, again.json["spec"]["width"]) == (200, 8)
    entry = again.json["metadata"]["managedFields"][0]
    assert entry["apiVersion"] == "yachts.test/v2"
    assert entry["fieldsV1"] == {"f:spec": {"f:height": {}, "f:width": {}}}
    assert sails.get(f"{OLD}/jib").json["spec"]["area"] == "8x2"


def test_lists_tables_and_selectors_are_of_the_version_asked_for(sails):
    sails.post(OLD, sail("jib", area="3x4"))
    sails.post(NEW, sail("main", width=10, height=20))
    found = sails.get(NEW).json
    assert (found["kind"], found["apiVersion"]) == ("SailList", "yachts.test/v2")
    assert [item["spec"]["width"] for item in found["items"]] == [3, 10]
    assert "kind" not in found["items"][0]
    picked = sails.get(f"{NEW}?fieldSelector=spec.area%3D10x20").json["items"]
    assert [item["metadata"]["name"] for item in picked] == ["main"]
    as_table = "application/json;as=Table;g=meta.k8s.io;v=v1"
    rows = sails.get(f"{NEW}?includeObject=Object", accept=as_table).json["rows"]
    assert [row["cells"] for row in rows] == [["jib", "3x4"], ["main", "10x20"]]
    assert [row["object"]["spec"]["height"] for row in rows] == [4, 20]
    one = sails.get(f"{NEW}/main", accept=as_table).json["rows"]
    assert one[0]["cells"] == ["main", "10x20"]
    assert sails.get(f"{NEW}?limit=1").json["metadata"]["remainingItemCount"] == 1


def test_a_watch_shows_each_change_in_its_own_version(sails):
    sails.post(OLD, sail(area="3x4"))

    async def scenario(events):
        kind, first = await events.next()
        assert (kind, first["apiVersion"], first["spec"]["width"]) == ("ADDED", "yachts.test/v2", 3)
        await sails.ask(
            "PATCH",
            f"{OLD}/jib",
            {"spec": {"area": "5x5"}},
            content_type="application/merge-patch+json",
        )
        kind, second = await events.next()
        assert (kind, second["spec"]["width"]) == ("MODIFIED", 5)
        await sails.ask("DELETE", f"{OLD}/jib")
        kind, last = await events.next()
        assert (kind, last["apiVersion"], last["spec"]["width"]) == ("DELETED", "yachts.test/v2", 5)

    watching(sails, NEW, scenario)


def test_a_watch_with_a_selector_tells_of_what_comes_and_leaves(sails):
    sails.post(OLD, sail(area="3x4"))

    async def scenario(events):
        for spec in ({"area": "1x1"}, {"area": "2x2"}):
            await sails.ask(
                "PATCH", f"{OLD}/jib", {"spec": spec}, content_type="application/merge-patch+json"
            )
        assert (await events.next())[0] == "ADDED"
        kind, left = await events.next()
        assert (kind, left["spec"]["width"]) == ("DELETED", 1)

    watching(sails, f"{NEW}?fieldSelector=spec.area%3D1x1", scenario)


def test_status_and_scale_are_written_in_each_version(sails):
    sails.post(OLD, sail(area="3x4"))
    seen = sails.get(f"{NEW}/jib/status").json
    seen["status"], seen["spec"]["width"] = {"replicas": 2}, 99
    assert sails.put(f"{NEW}/jib/status", seen).json["status"] == {"replicas": 2}
    scale = sails.patch(f"{NEW}/jib/scale", {"spec": {"replicas": 3}})
    assert (scale.json["spec"]["replicas"], scale.json["status"]["replicas"]) == (3, 2)
    assert sails.get(f"{OLD}/jib").json["spec"] == {"area": "3x4", "replicas": 3, "colour": "white"}


def test_dry_run_and_refusals_store_nothing(sails):
    assert sails.post(f"{NEW}?dryRun=All", sail(width=1, height=1)).json["spec"]["width"] == 1
    assert sails.get(f"{NEW}/jib").status == 404
    refused = sails.post(NEW, sail(width=9, height=9))
    assert (refused.status, refused.json["details"]["causes"][0]["field"]) == (422, "spec.area")
    wrong = sails.post(NEW, {**sail(width=1), "apiVersion": "boats.test/v1", "kind": "Sail"})
    assert wrong.status == 400


def test_delete_answers_in_the_version_of_the_request(sails):
    sails.post(OLD, {**sail(area="3x4"), "metadata": {"name": "jib", "finalizers": ["x.test/f"]}})
    marked = sails.delete(f"{NEW}/jib").json
    assert (marked["apiVersion"], marked["spec"]["width"]) == ("yachts.test/v2", 3)
    assert marked["metadata"]["deletionTimestamp"]
    gone = sails.patch(f"{NEW}/jib", {"metadata": {"finalizers": None}}).json
    assert gone["spec"]["width"] == 3
    assert sails.get(f"{OLD}/jib").status == 404
    sails.post(OLD, sail(area="3x4"))
    assert sails.delete(NEW).json["items"][0]["spec"]["width"] == 3


def test_admission_sees_the_hub_and_knows_what_was_asked_for(make_api, hub, monkeypatch):
    seen = []

    def look(attributes):
        asked = attributes.request_definition or attributes.definition
        seen.append((attributes.obj["apiVersion"], attributes.definition.resource, asked.resource))

    monkeypatch.setattr("proa.apiserver.app.PLUGINS", (Plugin("Look", validate=look),))
    api = make_api()
    for definition in definitions(hub):
        api.server.catalog.add(definition)
    api.post(NEW, sail(width=1, height=2))
    expected = ("boats.test/v1", V1, V2) if hub == "stored" else ("yachts.test/v2", V2, V2)
    assert seen == [expected]


def test_objects_stored_in_an_older_version_are_converted_until_they_are_written_again(api):
    old_definition = definitions("served")[0]
    api.server.catalog.add(old_definition)
    api.post(OLD, sail(area="3x4"))
    conversion = Conversion(V1, convert_later, "served")
    key = "/registry/boats.test/sails/default/jib"
    value = api.store.get(key).value

    async def store_as_v2():
        obj = orjson.loads(value)
        obj["apiVersion"] = "yachts.test/v2"
        await api.store.put(key, lambda revision: orjson.dumps(to_v2(obj)))

    asyncio.run(store_as_v2())
    api.server.catalog.add(replace(old_definition, conversion=conversion))
    assert api.get(f"{OLD}/jib").json["spec"]["area"] == "3x4"
    assert api.get(OLD).json["items"][0]["spec"]["area"] == "3x4"
    seen = api.get(f"{OLD}/jib").json
    assert api.put(f"{OLD}/jib", seen).status == 200
    assert orjson.loads(api.store.get(key).value)["spec"]["area"] == "3x4"


def test_a_converter_that_fails_fails_the_request(api):
    async def refuse(objects, to):
        raise ServiceUnavailable("conversion webhook for boats.test failed")

    stored, served = definitions("served")
    api.server.catalog.add(stored)
    api.server.catalog.add(replace(served, conversion=Conversion(V1, refuse, "served")))
    api.post(OLD, sail(area="3x4"))
    assert api.get(f"{NEW}/jib").status == 503
    assert api.get(NEW).message == "conversion webhook for boats.test failed"


def test_the_catalog_converts_between_any_two_versions(sails):
    catalog = sails.server.catalog
    stored = sails.post(OLD, sail(area="3x4")).json
    (there,) = asyncio.run(catalog.convert([stored], V2))
    assert there["spec"]["width"] == 3
    (back,) = asyncio.run(catalog.convert([there], V1))
    assert back["spec"]["area"] == "3x4"
    found = catalog.versions_of(catalog.of(V1).definition)
    assert {registry.resource for registry in found} == {V1, V2}


def test_a_watch_says_when_a_converter_fails_and_ends(api):
    def refuse(objects, to):
        raise ServiceUnavailable("conversion webhook for boats.test failed")

    stored, served = definitions("served")
    api.server.catalog.add(stored)
    api.server.catalog.add(replace(served, conversion=Conversion(V1, refuse, "served")))
    api.post(OLD, sail(area="3x4"))

    async def scenario(events):
        (said,) = await events.rest()
        assert (said["type"], said["object"]["code"]) == ("ERROR", 503)

    watching(api, NEW, scenario)
    start = api.get(OLD).json["metadata"]["resourceVersion"]
    api.delete(f"{OLD}/jib")
    watching(api, f"{NEW}?resourceVersion={start}", scenario)
