"""What is passed over unread is only what a selector does not pick."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.apiserver.handlers.negotiation import PLAIN
from proa.apiserver.handlers.options import Selection, read_selection
from proa.apiserver.handlers.sieve import Sieve
from proa.apiserver.handlers.watch_view import View
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Request
from proa.objects.resource import PODS
from proa.store.protocol import Change

from .conftest import Api

WORDS = ("", "n1", "n10", "n", "a.b/n", '"n1"', "é")
FIELDS = (
    "",
    "spec.nodeName=n1",
    "spec.nodeName=",
    "spec.nodeName!=n1",
    "status.phase=Pending",
    "spec.nodeName=é",
)
LABELS = (
    "",
    "a=n1",
    "a==n1",
    "a in (n1)",
    "a in (n,n1)",
    "a",
    "!a",
    "a!=n1",
    "a notin (n1)",
    "a.b/n=",
    "a>1",
)


@cache
def _pods() -> ResourceRegistry:
    return Api().server.catalog.of(PODS)


def select(labels: str, fields: str) -> Selection:
    query = {"labelSelector": [labels], "fieldSelector": [fields]}
    return read_selection(Request("GET", "", query), _pods().definition)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    word = st.sampled_from(WORDS)
    metadata: dict[str, Any] = {"name": draw(st.sampled_from(("n", "n1")))}
    if draw(st.booleans()):
        metadata["labels"] = draw(st.dictionaries(st.sampled_from(("a", "b", "a.b/n")), word, max_size=2))
    metadata["annotations"] = {"x": draw(word)}
    return {"metadata": metadata, "spec": {"nodeName": draw(word)} if draw(st.booleans()) else {}}


@settings(max_examples=300, deadline=None)
@given(pods(), st.sampled_from(LABELS), st.sampled_from(FIELDS))
def test_what_a_selector_picks_passes(pod: dict[str, Any], labels: str, fields: str) -> None:
    selection = select(labels, fields)
    assert Sieve(selection).passes(orjson.dumps(pod)) or not selection.matches(pod)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(pods(), st.booleans()), max_size=8), st.sampled_from(LABELS), st.sampled_from(FIELDS)
)
def test_a_watch_tells_the_same_with_and_without_it(
    steps: list[tuple[dict[str, Any], bool]], labels: str, fields: str
) -> None:
    selection = select(labels, fields)
    passing_over, reading_all = (View(_pods(), selection, "", PLAIN, "") for _ in range(2))
    reading_all.sieve.needles = ()
    stored: dict[str, bytes | None] = {}
    changes = []
    for revision, (pod, is_gone) in enumerate(steps, 1):
        name = pod["metadata"]["name"]
        pod["metadata"]["resourceVersion"] = str(revision)
        previous = stored.get(name)
        if is_gone and previous is None:
            continue
        stored[name] = None if is_gone else orjson.dumps(pod)
        changes.append(Change(f"/registry/core/pods/default/{name}", stored[name], previous, revision))

    assert passing_over.encode(changes) == reading_all.encode(tuple(changes))


@pytest.mark.parametrize(
    ("labels", "fields", "needles"),
    [
        ("a=b", "", (b'"a":"b"',)),
        ("a in (b,c),d", "", (b'"a":', b'"d":')),
        ("a!=b", "status.phase=Running", ()),
        ("", "spec.nodeName=n1", (b'"n1"',)),
        ("", "metadata.name=n1,spec.nodeName=", ()),
    ],
)
def test_what_must_stand_in_an_object(labels: str, fields: str, needles: tuple[bytes, ...]) -> None:
    assert Sieve(select(labels, fields)).needles == needles


def test_a_list_by_selector_has_what_matches(api: Api) -> None:
    for name in ("a", "b", "c"):
        api.config_map(name, labels={"app": name, "has": "app"})
    for selector, names in {"app%3Db": ["b"], "app%21%3Db": ["a", "c"], "has%3Dapp": ["a", "b", "c"]}.items():
        listed = api.get(f"/api/v1/configmaps?labelSelector={selector}").json
        assert [item["metadata"]["name"] for item in listed["items"]] == names
