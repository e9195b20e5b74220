"""What a cluster has for pipelines: nobody becomes a node's root by it."""

from __future__ import annotations

import asyncio

from proa.client.fake import FakeClient
from proa.ml.pipelines.api.installation import install
from proa.objects.resource import NAMESPACES


def test_pods_of_the_shared_namespace_are_held_to_the_baseline():
    async def scenario() -> None:
        client = FakeClient()
        await install(client, "192.0.2.1", 8888)
        [namespace] = client.all(NAMESPACES)
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"

    asyncio.run(scenario())
