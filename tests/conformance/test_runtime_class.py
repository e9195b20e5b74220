"""Pods that name RuntimeClasses, as upstream's conformance suite tries them."""

from __future__ import annotations

from typing import Any

import pytest

from proa.client.api import ApiClient
from proa.objects.errors import Forbidden
from proa.objects.resource import PODS, RUNTIME_CLASSES, SERVICE_ACCOUNTS
from support.api_operations import run_with_api

HANDLER = "runc"


def make_pod(runtime_class: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": f"test-runtimeclass-{runtime_class}-"},
        "spec": {
            "runtimeClassName": runtime_class,
            "containers": [{"name": "test", "image": "pause"}],
            "restartPolicy": "Never",
        },
    }


def make_class(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name},
        "handler": HANDLER,
        **fields,
    }


async def add_account(client: ApiClient) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await client.create(SERVICE_ACCOUNTS, account, "default")


def test_a_pod_of_an_unknown_class_is_rejected() -> None:
    """[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [Conformance]"""

    async def scenario(client: ApiClient) -> None:
        await add_account(client)
        with pytest.raises(Forbidden, match='RuntimeClass "nonexistent" not found'):
            await client.create(PODS, make_pod("nonexistent"), "default")

    run_with_api(scenario)


def test_a_pod_of_a_deleted_class_is_rejected() -> None:
    """[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [Conformance]"""

    async def scenario(client: ApiClient) -> None:
        await add_account(client)
        await client.create(RUNTIME_CLASSES, make_class("delete-me"))
        await client.delete(RUNTIME_CLASSES, "delete-me")
        with pytest.raises(Forbidden, match='RuntimeClass "delete-me" not found'):
            await client.create(PODS, make_pod("delete-me"), "default")

    run_with_api(scenario)


@pytest.mark.parametrize("overhead", [None, {"cpu": "10m", "memory": "1Mi"}], ids=["without", "with"])
def test_a_pod_gets_the_overhead_of_its_class(overhead: Any) -> None:
    """[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [Conformance]
    [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead
    [NodeConformance] [Conformance]: what the API server does of them."""

    async def scenario(client: ApiClient) -> None:
        await add_account(client)
        fields = {"overhead": {"podFixed": overhead}} if overhead else {}
        await client.create(RUNTIME_CLASSES, make_class("preconfigured", **fields))
        pod = await client.create(PODS, make_pod("preconfigured"), "default")
        assert pod["spec"].get("overhead") == overhead

    run_with_api(scenario)
