"""Lists: one revision, pages, selectors, resourceVersion rules, Tables and metadata only."""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import quote

import pytest

from proa.apiserver.pace import SLICE_OBJECTS

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def names(answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json["items"]]


@pytest.fixture
def four(api):
    for name, labels in (("a", {"n": "1"}), ("b", {"n": "2"}), ("c", {"n": "1"}), ("d", {})):
        api.config_map(name, labels=labels)
    return api


def test_a_list_shows_the_stores_revision(four):
    listed = four.get(CONFIG_MAPS).json
    assert listed["kind"] == "ConfigMapList"
    assert listed["metadata"] == {"resourceVersion": str(four.store.revision)}


def test_all_namespaces_are_listed_together(four):
    four.post("/api/v1/namespaces", {"metadata": {"name": "zoo"}})
    four.config_map("a", "zoo")
    assert names(four.get("/api/v1/configmaps")) == ["a", "b", "c", "d", "a"]
    assert names(four.get(CONFIG_MAPS)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("n=1", ["a", "c"]),
        ("n!=1", ["b", "d"]),
        ("n in (1,2)", ["a", "b", "c"]),
        ("!n", ["d"]),
    ],
)
def test_label_selectors_pick(four, selector, expected):
    assert names(four.get(f"{CONFIG_MAPS}?labelSelector={quote(selector)}")) == expected


def test_field_selectors_pick_and_unknown_fields_are_refused(four):
    four.pod("p", nodeName="n1")
    assert names(four.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")) == ["p"]
    assert names(four.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2")) == []
    assert names(four.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Db")) == ["b"]
    refused = four.get(f"{CONFIG_MAPS}?fieldSelector=spec.x%3Dy")
    assert (refused.status, refused.message) == (
        400, '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
    )  # fmt: skip


class TestPages:
    def test_they_show_one_revision_whatever_happens_between(self, four):
        first = four.get(f"{CONFIG_MAPS}?limit=2").json
        assert first["metadata"]["remainingItemCount"] == 2
        four.delete(f"{CONFIG_MAPS}/c")
        four.config_map("aa")
        second = four.get(f"{CONFIG_MAPS}?limit=2&continue={first['metadata']['continue']}")
        assert names(second) == ["c", "d"]
        assert second.json["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}

    def test_with_a_selector_nobody_counts_what_remains(self, four):
        first = four.get(f"{CONFIG_MAPS}?limit=1&labelSelector=n%3D1")
        assert (names(first), "remainingItemCount" in first.json["metadata"]) == (["a"], False)
        token = first.json["metadata"]["continue"]
        assert names(four.get(f"{CONFIG_MAPS}?limit=1&labelSelector=n%3D1&continue={token}")) == ["c"]

    def test_an_expired_token_says_how_to_go_on(self, four):
        token = four.get(f"{CONFIG_MAPS}?limit=2").json["metadata"]["continue"]
        four.config_map("z")
        asyncio.run(four.store.compact(four.store.revision))
        expired = four.get(f"{CONFIG_MAPS}?limit=2&continue={token}")
        assert (expired.status, expired.json["reason"]) == (410, "Expired")
        resumed = four.get(f"{CONFIG_MAPS}?continue={expired.json['metadata']['continue']}")
        assert names(resumed) == ["c", "d", "z"]

    def test_from_any_revision_there_are_no_pages(self, four):
        found = four.get(f"{CONFIG_MAPS}?limit=2&resourceVersion=0")
        assert (names(found), "continue" in found.json["metadata"]) == (["a", "b", "c", "d"], False)

    @pytest.mark.parametrize(
        ("token", "why"),
        [
            ("abc", "invalid character"),
            ("!!!", ""),
            (b"{}", "server does not recognize this encoded version "),
            (b"[]", "json: cannot unmarshal array"),
            (b'{"v":"v9","rv":1,"start":"a"}', "server does not recognize this encoded version v9"),
            (
                b'{"v":"meta.k8s.io/v1","start":"a"}',
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                b'{"v":"meta.k8s.io/v1","rv":1}',
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            (b'{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}', "../secrets/a"),
            (b'{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}', "a//b"),
        ],
    )
    def test_a_wrong_token_is_refused(self, four, token, why):
        if isinstance(token, bytes):
            token = base64.urlsafe_b64encode(token).decode().rstrip("=")
        answer = four.get(f"{CONFIG_MAPS}?limit=1&continue={token}")
        assert answer.status == 400
        assert answer.message.startswith(f"invalid continue token: continue key is not valid: {why}")


class TestResourceVersions:
    def test_exact_shows_the_past(self, four):
        past = four.store.revision
        four.delete(f"{CONFIG_MAPS}/a")
        exact = f"{CONFIG_MAPS}?resourceVersion={past}&resourceVersionMatch=Exact"
        assert names(four.get(exact)) == ["a", "b", "c", "d"]
        assert names(four.get(f"{CONFIG_MAPS}?resourceVersion={past}")) == ["b", "c", "d"]
        assert names(four.get(f"{CONFIG_MAPS}?resourceVersion=0")) == ["b", "c", "d"]
        asyncio.run(four.store.compact(four.store.revision))
        assert (four.get(exact).status, four.get(exact).message) == (
            410, "The resourceVersion for the provided list is too old.",
        )  # fmt: skip

    def test_the_future_is_a_timeout_to_retry(self, four):
        answer = four.get(f"{CONFIG_MAPS}?resourceVersion=999&resourceVersionMatch=NotOlderThan")
        assert (answer.status, answer.headers["Retry-After"]) == (504, "1")
        assert answer.message == f"Timeout: Too large resource version: 999, current: {four.store.revision}"

    def test_a_get_may_ask_how_new_the_object_is(self, four):
        assert four.get(f"{CONFIG_MAPS}/a?resourceVersion=0").status == 200
        assert four.get(f"{CONFIG_MAPS}/a?resourceVersion={four.store.revision}").status == 200
        assert four.get(f"{CONFIG_MAPS}/a?resourceVersion=999").status == 504
        assert four.get(f"{CONFIG_MAPS}/a?resourceVersion=x").status == 500

    def test_one_name_is_looked_up_at_the_revision_asked_for(self, four):
        past = four.store.revision
        four.delete(f"{CONFIG_MAPS}/a")
        by_name = f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Da"
        assert names(four.get(by_name)) == []
        assert names(four.get(f"{by_name}&resourceVersion={past}&resourceVersionMatch=Exact")) == ["a"]
        assert names(four.get(f"{by_name}&labelSelector=n%3Dnone")) == []

    @pytest.mark.parametrize(
        "query",
        ["resourceVersionMatch=Exact", "resourceVersion=1&resourceVersionMatch=Odd",
         "resourceVersion=0&resourceVersionMatch=Exact", "sendInitialEvents=true"],
    )  # fmt: skip
    def test_combinations_without_meaning_are_refused(self, four, query):
        assert four.get(f"{CONFIG_MAPS}?{query}").status == 422


class TestShapes:
    def test_a_table_has_the_kinds_columns(self, four):
        table = four.get(CONFIG_MAPS, accept=TABLE).json
        assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert [row["cells"] for row in table["rows"]] == [[n, 1, "0s"] for n in "abcd"]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"

    @pytest.mark.parametrize(("include", "kind"), [("Object", "ConfigMap"), ("None", None)])
    def test_rows_hold_what_was_asked_for(self, four, include, kind):
        row = four.get(f"{CONFIG_MAPS}?includeObject={include}", accept=TABLE).json["rows"][0]
        assert (row["object"] or {}).get("kind") == kind

    def test_metadata_only(self, four):
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        listed = four.get(CONFIG_MAPS, accept=accept).json
        assert listed["kind"] == "PartialObjectMetadataList"
        assert all("data" not in item for item in listed["items"])


def test_a_long_list_comes_in_pieces(api):
    for index in range(120):
        api.config_map(f"c{index:03}")
    response = asyncio.run(api.send("GET", CONFIG_MAPS))
    assert len(response.body) == 2 + 120 / SLICE_OBJECTS, "the head, pieces of so many, the end"
    assert len(names(api.get(CONFIG_MAPS))) == 120


def test_a_table_asked_for_again_shows_pods_as_they_are_now(api):
    pods = "/api/v1/namespaces/default/pods"
    for name in ("gone", "kept", "runs"):
        api.pod(name)
    before = api.get(pods, accept=TABLE).json["rows"]
    api.patch(f"{pods}/runs/status", {"status": {"phase": "Running"}})
    api.delete(f"{pods}/gone", {"gracePeriodSeconds": 0})

    after = api.get(pods, accept=TABLE).json["rows"]

    shown = [(row["object"]["metadata"]["name"], row["cells"][0], row["cells"][2]) for row in after]
    assert [row["cells"][2] for row in before] == ["Pending"] * 3
    assert shown == [("kept", "kept", "Pending"), ("runs", "runs", "Running")]
    assert after[1]["object"]["metadata"] == api.get(f"{pods}/runs").json["metadata"]
