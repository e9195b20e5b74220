"""Rows that are kept say what rows made of the objects would say, at every time."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.apiserver.handlers.shapes import Ages, cells_of
from proa.apiserver.registry.definition import Ago
from proa.apiserver.registry.summaries import Summaries
from proa.apiserver.resources.core.pod import DEFINITION
from proa.apiserver.resources.core.pod_printing import summarize
from proa.objects.meta import format_time
from proa.store.protocol import Entry

from .conftest import Api

HEAD = b'{"kind":"Pod","apiVersion":"v1",'
NOW = 1_800_000_000.0
times = st.sampled_from((None, format_time(NOW - 5), format_time(NOW - 90_000)))
states = st.sampled_from(
    ({"running": {}}, {"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1}})
)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": draw(st.sampled_from(("Pending", "Running", "Failed")))}
    container = {"name": "c", "ready": draw(st.booleans()), "restartCount": draw(st.integers(0, 2))}
    last = {"terminated": {"exitCode": 1, "finishedAt": draw(times)}}
    status["containerStatuses"] = [{**container, "state": draw(states), "lastState": last}]
    created = draw(times)
    top = {"kind": "Pod", "apiVersion": "v1"}
    metadata = {"name": draw(st.sampled_from("ab")), **({"creationTimestamp": created} if created else {})}
    return {
        **top,
        "metadata": metadata,
        "spec": {"containers": [{"name": "c", "image": "é"}]},
        "status": status,
    }


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(pods(), st.sampled_from((0, 7, 86_400))), max_size=8))
def test_a_kept_row_is_the_row_of_the_object_at_that_revision(
    steps: list[tuple[dict[str, Any], int]],
) -> None:
    summaries, stored = Summaries(summarize, HEAD), {}
    for revision, (pod, later) in enumerate(steps, 1):
        pod["metadata"]["resourceVersion"] = str(revision)
        stored[pod["metadata"]["name"]] = Entry(pod["metadata"]["name"], orjson.dumps(pod), revision), pod
        ages = Ages(NOW + later)
        for entry, current in stored.values():
            cells, metadata = summaries.row(entry, ages.say)
            assert orjson.loads(b"[%b]" % cells) == list(cells_of(DEFINITION, current, NOW + later))
            assert metadata is not None
            assert orjson.loads(metadata) == current["metadata"]


def test_cells_that_change_may_stand_anywhere() -> None:
    begun = format_time(NOW - 5)
    for cells, expected in {
        (): [],
        ("a",): ["a"],
        (Ago(begun),): ["5s"],
        ("a", Ago(begun)): ["a", "5s"],
        (Ago(begun), "a"): ["5s", "a"],
        (Ago(begun), Ago(None, "{} or so")): ["5s", "<unknown> or so"],
        ("a", 1, Ago(begun), "b"): ["a", 1, "5s", "b"],
        ('"', Ago(begun), Ago(begun), "%b"): ['"', "5s", "5s", "%b"],
    }.items():
        summaries, entry = Summaries(lambda _, cells=cells: cells, HEAD), Entry("k", b'{"metadata":{}}', 1)
        cells, metadata = summaries.row(entry, Ages(NOW).say)
        assert (orjson.loads(b"[%b]" % cells), metadata) == (expected, None)


def test_a_table_of_pods_is_the_same_with_and_without_kept_rows(api: Api) -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    for name in ("a", "b", "c"):
        spec = {"containers": [{"name": "c", "image": "x"}]}
        api.post("/api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec})
    for include in ("Metadata", "None"):
        path = f"/api/v1/pods?includeObject={include}"
        first, again = (api.get(path, accept=table).json for _ in range(2))
        api.time += 600
        registry = api.server.catalog.find("", "v1", "pods")
        kept, registry.summaries = registry.summaries, None
        assert first == again
        made = api.get(path, accept=table).json
        registry.summaries = kept
        assert api.get(path, accept=table).json == made
        assert [row["cells"][4] for row in made["rows"]] == ["10m"] * 3
        api.time -= 600
