"""What two objects of one controller say alike is one thing in memory, and says the same as before."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proa.client.fake import FakeClient
from proa.objects.resource import PODS
from proa.reconcile import sharing
from proa.reconcile.informer import Informer
from proa.reconcile.reflector import Scope
from proa.reconcile.sharing import Siblings, share

TEXT = st.sampled_from(("a", "b", "c"))
JSON = st.recursive(
    st.one_of(TEXT, st.none(), st.integers(2, 4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)


@given(new=OBJECTS, known=OBJECTS)
def test_sharing_changes_nothing_of_what_is_said(new: Any, known: Any) -> None:
    said, other = orjson.dumps(new), orjson.dumps(known)
    share(new, known)
    assert (orjson.dumps(new), orjson.dumps(known)) == (said, other)


def make_pod(number: int, owner: str = "rs") -> Any:
    reference = {"apiVersion": "v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}
    metadata = {"name": f"p{number}", "namespace": "default", "ownerReferences": [reference]}
    container = {
        "name": "c",
        "env": [{"name": "A", "value": "B"}],
        "volumeMounts": [{"name": f"token-{number}"}],
    }
    return {"metadata": metadata, "spec": {"nodeName": f"n{number}", "containers": [container]}}


def test_pods_of_a_controller_share_what_is_alike() -> None:
    siblings = Siblings()
    first, second, third = make_pod(1), make_pod(2), make_pod(3, "other")
    for pod in (first, second, third):
        siblings.share(pod, None)
    one, two, three = (pod["spec"]["containers"][0] for pod in (first, second, third))
    assert two["env"] is one["env"]
    assert two["volumeMounts"] == [{"name": "token-2"}]
    assert three["env"] is not one["env"]


def test_a_changed_pod_shares_what_has_not_changed_with_what_it_was(monkeypatch: Any) -> None:
    monkeypatch.setattr(sharing, "MAX_SIBLINGS", 0)

    async def scenario() -> None:
        client = FakeClient()
        client.add(PODS, make_pod(1))
        informer = Informer(client, Scope(PODS))
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        before = informer.get("p1", "default")
        changed = asyncio.Event()
        informer.listen(lambda old, new: changed.set() if old is not None else None)
        await client.patch(PODS, "p1", {"metadata": {"labels": {"a": "b"}}}, "default")
        await changed.wait()
        after = informer.get("p1", "default")
        task.cancel()
        assert before is not None
        assert after is not None
        assert after is not before
        assert after["spec"] is before["spec"]
        assert after["metadata"]["labels"] == {"a": "b"}

    asyncio.run(scenario())
