"""The Run kind is made, kept as it is here, and its finalizer taken off."""

from __future__ import annotations

import asyncio

from proa.client.fake import FakeClient
from proa.ml.pipelines.operator.resources import ensure_definition, let_go
from proa.ml.pipelines.run_objects import FINALIZER, RUNS
from proa.objects import meta
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, PODS


def test_the_kind_is_made_and_brought_up_to_date():
    client = FakeClient()

    async def twice() -> None:
        await ensure_definition(client)
        made = client.all(CUSTOM_RESOURCE_DEFINITIONS)[0]
        await ensure_definition(client)
        assert [call.verb for call in client.calls] == ["create"]  # the second found it as it is
        await client.update(CUSTOM_RESOURCE_DEFINITIONS, {**made, "spec": {**made["spec"], "versions": []}})
        await ensure_definition(client)

    asyncio.run(twice())
    found = client.all(CUSTOM_RESOURCE_DEFINITIONS)[0]
    assert meta.name(found) == "runs.pipelines.proa.dev"
    assert [version["name"] for version in found["spec"]["versions"]] == ["v1"]
    assert RUNS.qualified_name == meta.name(found)


def test_only_our_finalizer_is_taken_off_even_if_the_object_has_changed():
    client = FakeClient()
    seen = client.add(PODS, {"metadata": {"name": "p", "finalizers": [FINALIZER, "theirs"]}})
    client.add(PODS, {**seen, "metadata": {**seen["metadata"], "finalizers": ["first", FINALIZER, "theirs"]}})
    asyncio.run(let_go(client, PODS, seen))
    assert meta.finalizers(client.all(PODS)[0]) == ["first", "theirs"]


def test_an_object_that_is_gone_or_another_one_is_left_alone():
    client = FakeClient()
    seen = client.add(PODS, {"metadata": {"name": "p", "finalizers": [FINALIZER]}})
    other = {"metadata": {"name": "q", "uid": "new", "finalizers": [FINALIZER]}}
    client.add(PODS, other)
    asyncio.run(let_go(client, PODS, {**seen, "metadata": {**seen["metadata"], "name": "gone"}}))
    asyncio.run(let_go(client, PODS, {**seen, "metadata": {**seen["metadata"], "name": "q", "uid": "old"}}))
    assert meta.finalizers(client.peek(PODS, "q", "default") or {}) == [FINALIZER]
