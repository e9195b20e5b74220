"""Who accepts protobuf alone is answered in it: objects, lists, metadata, errors, discovery and watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.apiserver.custom_resource_builders import BOATS, DEFINITIONS, make_boat, make_definition

from proa.apiserver.protobuf.decode import decode_object
from proa.apiserver.protobuf.encode import encode_object

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PARTIAL = f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIAL_LIST = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def read(answer: Any, kind: str) -> Any:
    assert answer.headers["Content-Type"] == PROTOBUF
    return decode_object(answer.raw, kind)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (PROTOBUF, PROTOBUF),
        (f"{PROTOBUF}, text/plain", PROTOBUF),
        (f"{PROTOBUF},application/json", "application/json"),
        (f"{PROTOBUF}, */*;q=0.1", "application/json"),
        (f"{PARTIAL}, application/json", PROTOBUF),
        (f"{PARTIAL},{PARTIAL.replace(PROTOBUF, 'application/json')}", "application/json"),
        (f"{PROTOBUF};stream=watch", PROTOBUF),
    ],
)
def test_protobuf_is_chosen_where_json_of_the_same_shape_would_not_do(
    api: Any, accept: str, content_type: str
) -> None:
    api.config_map("a")
    assert api.get(f"{CONFIG_MAPS}/a", accept=accept).headers["Content-Type"] == content_type


def test_every_verb_answers_in_it(api: Any) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    sent = {"content_type": PROTOBUF, "accept": PROTOBUF}
    made = api.post(CONFIG_MAPS, encode_object(body), **sent)
    assert (made.status, read(made, "ConfigMap")["data"]) == (201, {"k": "v"})
    assert read(api.get(f"{CONFIG_MAPS}/a", accept=PROTOBUF), "ConfigMap") == api.get(f"{CONFIG_MAPS}/a").json
    put = api.put(f"{CONFIG_MAPS}/a", encode_object({**body, "data": {"k": "w"}}), **sent)
    assert read(put, "ConfigMap")["data"] == {"k": "w"}
    listed = read(api.get(CONFIG_MAPS, accept=PROTOBUF), "ConfigMapList")
    assert (listed["kind"], [item["data"] for item in listed["items"]]) == ("ConfigMapList", [{"k": "w"}])
    assert listed["metadata"] == api.get(CONFIG_MAPS).json["metadata"]
    gone = asyncio.run(api.ask("DELETE", f"{CONFIG_MAPS}/a", accept=PROTOBUF))
    assert read(gone, "Status")["status"] == "Success"


def test_a_scale_and_a_review_too(api: Any) -> None:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    api.post(DEPLOYMENTS, {"metadata": {"name": "a"}, "spec": spec})
    scale = read(api.get(f"{DEPLOYMENTS}/a/scale", accept=PROTOBUF), "Scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 0, "selector": "app=a"})
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answered = read(api.post(path, review, accept=PROTOBUF), "SelfSubjectAccessReview")
    assert answered["status"]["allowed"] is True


def test_metadata_alone(api: Any) -> None:
    api.config_map("a")
    one = read(api.get(f"{CONFIG_MAPS}/a", accept=PARTIAL), "PartialObjectMetadata")
    assert (one["metadata"]["name"], "data" in one) == ("a", False)
    many = read(api.get(CONFIG_MAPS, accept=PARTIAL_LIST), "PartialObjectMetadataList")
    assert [item["metadata"]["name"] for item in many["items"]] == ["a"]
    older = read(api.get(CONFIG_MAPS, accept=PARTIAL_LIST + "beta1"), "PartialObjectMetadataList")
    assert older["items"] == many["items"]


def test_errors_are_told_in_what_the_client_accepts(api: Any) -> None:
    error = read(api.get(f"{CONFIG_MAPS}/a", accept=PROTOBUF), "Status")
    assert (error["code"], error["reason"], error["details"]["name"]) == (404, "NotFound", "a")
    as_yaml = api.get(f"{CONFIG_MAPS}/a", accept="application/yaml")
    assert b"reason: NotFound" in as_yaml.raw
    assert api.get(f"{CONFIG_MAPS}/a", accept="text/csv").json["code"] == 406


def test_discovery_too(api: Any) -> None:
    assert read(api.get("/api", accept=PROTOBUF), "APIVersions")["versions"] == ["v1"]
    groups = read(api.get("/apis", accept=PROTOBUF), "APIGroupList")["groups"]
    assert groups == api.get("/apis").json["groups"]
    resources = read(api.get("/apis/apps/v1", accept=PROTOBUF), "APIResourceList")["resources"]
    assert {r["name"]: r["verbs"] for r in resources}["deployments/scale"] == ["get", "patch", "update"]


def test_custom_resources_have_none_but_their_definition_and_metadata_have(api: Any) -> None:
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    body = encode_object({**definition, **make_definition()})
    made = api.post(DEFINITIONS, body, content_type=PROTOBUF, accept=PROTOBUF)
    assert made.status == 201
    spec = read(made, "CustomResourceDefinition")["spec"]
    assert spec["versions"][0]["schema"] == make_definition()["spec"]["versions"][0]["schema"]
    api.post(BOATS, make_boat())
    refused = api.get(f"{BOATS}/dhow", accept=PROTOBUF)
    assert refused.status == 406
    assert read(refused, "Status")["message"] == (
        "only the following media types are accepted: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf"
    )
    one = read(api.get(f"{BOATS}/dhow", accept=PARTIAL), "PartialObjectMetadata")
    assert one["metadata"]["name"] == "dhow"


def test_a_table_is_never_protobuf(api: Any) -> None:
    table = "as=Table;g=meta.k8s.io;v=v1"
    assert api.get(CONFIG_MAPS, accept=f"{PROTOBUF};{table}").status == 406
    both = api.get(CONFIG_MAPS, accept=f"{PROTOBUF};{table},{PROTOBUF}")
    assert read(both, "ConfigMapList")["kind"] == "ConfigMapList"


def frames(data: bytes) -> Iterator[tuple[str, Any]]:
    """Yield (type, object) of each frame; a WatchEvent has the type as field 1, the object as 2 and in it as 1."""
    while data:
        size = int.from_bytes(data[:4], "big")
        event, data = data[4 : 4 + size], data[4 + size :]
        length = event[1]
        kind = event[2 : 2 + length].decode()
        yield kind, decode_object(event[event.index(b"k8s\0") :], "an object")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [(f"{PROTOBUF};stream=watch", "ConfigMap"), (PROTOBUF, "ConfigMap"), (PARTIAL, "PartialObjectMetadata")],
)
def test_a_watch_is_frames_of_events(api: Any, accept: str, kind: str) -> None:
    api.config_map("a")

    async def scenario() -> list[tuple[str, Any]]:
        query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        response = await api.send("GET", f"{CONFIG_MAPS}?{query}", accept=accept)
        assert response.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
        seen: list[tuple[str, Any]] = []
        async with asyncio.timeout(60):
            while len(seen) < 2:
                seen += frames(await response.stream.__anext__())
            await api.ask("DELETE", f"{CONFIG_MAPS}/a")
            seen += frames(await response.stream.__anext__())
        await response.stream.aclose()
        return seen

    seen = asyncio.run(scenario())
    assert [(event, obj["kind"]) for event, obj in seen] == [
        ("ADDED", kind),
        ("BOOKMARK", kind),
        ("DELETED", kind),
    ]
    assert seen[0][1]["metadata"]["name"] == "a"
    assert seen[1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_what_is_wrong_with_a_watch_is_a_frame_too(api: Any) -> None:
    async def scenario() -> bytes:
        query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999"
        response = await api.send("GET", f"{CONFIG_MAPS}?{query}", accept=PROTOBUF)
        data: bytes = await response.stream.__anext__()
        await response.stream.aclose()
        return data

    ((event, status),) = frames(asyncio.run(scenario()))
    assert (event, status["kind"]) == ("ERROR", "Status")


def test_a_watch_has_no_yaml(api: Any) -> None:
    answer = api.get(f"{CONFIG_MAPS}?watch=true", accept="application/yaml")
    assert (answer.status, answer.headers["Content-Type"]) == (406, "application/yaml")
