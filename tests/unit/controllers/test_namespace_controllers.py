"""A namespace gets what every namespace has, and is emptied before it goes."""

from __future__ import annotations

import asyncio
from typing import Any

from proa.client.fake import FakeClient
from proa.controllers import namespace, root_ca, serviceaccount
from proa.controllers.namespace import Remains
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS, Resource

SERVED = (PODS, CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS)


class NamespacedClient(FakeClient):
    """Adds discovery, deletecollection and the finalize subresource, for the kinds in SERVED."""

    async def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        if path == "/apis":
            return {"groups": []}
        if method == "DELETE":
            parts = path.partition("?")[0].split("/")
            resource = next(r for r in SERVED if r.plural == parts[-1])
            for obj in self.all(resource):
                if meta.namespace(obj) == parts[-2]:
                    await self.delete(resource, meta.name(obj), parts[-2])
            return {}
        if path != "/api/v1":
            raise NotFound(path)
        verbs = ["delete", "deletecollection", "list", "watch"]
        return {
            "resources": [
                {"name": r.plural, "kind": r.kind, "namespaced": True, "verbs": verbs} for r in SERVED
            ]
        }

    async def update(self, resource: Resource, obj: dict[str, Any], subresource: str = "") -> dict[str, Any]:
        if subresource != "finalize":
            return await super().update(resource, obj, subresource)
        return await super().update(resource, {**obj, "metadata": {**obj["metadata"], "finalizers": None}})


def add_namespace(client: FakeClient, **metadata: Any) -> dict[str, Any]:
    return client.add(
        NAMESPACES,
        {
            "metadata": {"name": "lab", **metadata},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        },
    )


def test_every_namespace_has_a_default_account_and_the_ca(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([serviceaccount, root_ca], settings=settings) as w:
            add_namespace(w.client)
            await w.settle()
            assert w.client.peek(SERVICE_ACCOUNTS, "default", "lab") is not None
            published = w.client.peek(CONFIG_MAPS, "kube-root-ca.crt", "lab")
            assert published["data"] == {"ca.crt": settings.ca_certificate}
            await w.client.delete(SERVICE_ACCOUNTS, "default", "lab")
            await w.client.update(CONFIG_MAPS, {**published, "data": {"ca.crt": "forged"}})
            await w.settle()
            assert w.client.peek(SERVICE_ACCOUNTS, "default", "lab") is not None
            assert w.client.peek(CONFIG_MAPS, "kube-root-ca.crt", "lab")["data"] == {
                "ca.crt": settings.ca_certificate
            }
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []

    asyncio.run(scenario())


def test_a_namespace_that_is_going_gets_nothing_new(settings: Any) -> None:
    going = {"metadata": {"name": "lab", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert serviceaccount.plan(going, None).create is None
    assert root_ca.plan(going, None, "ca") == root_ca.Plan()


def test_a_namespace_is_emptied_pods_first_and_then_goes(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        client = NamespacedClient(now=lambda: 1_750_000_000.0)
        async with world([namespace], client=client, settings=settings) as w:
            pod = {"metadata": {"name": "busy", "namespace": "lab"}, "spec": {"nodeName": "proa-1"}}
            client.add(PODS, pod)
            for resource in (CONFIG_MAPS, SECRETS):
                client.add(resource, {"metadata": {"name": "thing", "namespace": "lab"}})
            client.add(SECRETS, {"metadata": {"name": "thing", "namespace": "default"}})
            add_namespace(client, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["test/wait"])
            await w.settle()
            assert [meta.is_deleting(pod) for pod in w.pods()] == [True]
            assert client.peek(SECRETS, "thing", "lab") is not None
            assert w.conditions(NAMESPACES, "lab", "")["NamespaceContentRemaining"] == (
                "True",
                "SomeResourcesRemain",
            )
            assert client.peek(NAMESPACES, "lab", "")["status"]["phase"] == "Terminating"
            await client.delete(PODS, "busy", "lab", grace_period_seconds=0)
            await w.settle()
            assert client.peek(SECRETS, "thing", "lab") is None
            assert client.peek(SECRETS, "thing", "default") is not None
            assert client.peek(NAMESPACES, "lab") is None

    asyncio.run(scenario())


class StubbornClient(NamespacedClient):
    """Deletes no Secrets in a collection, whatever it says."""

    async def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return {} if method == "DELETE" and "/secrets" in path else await super().request(method, path, body)


def test_what_stays_for_no_reason_is_told_and_what_has_a_finalizer_or_grace_is_waited_for(
    world: Any, settings: Any
) -> None:
    async def scenario() -> None:
        client = StubbornClient(now=lambda: 1_750_000_000.0)
        async with world([namespace], client=client, settings=settings) as w:
            deleted_at = meta.format_time(w.time - 10)
            spec = {"nodeName": "proa-1", "terminationGracePeriodSeconds": 30}
            client.add(PODS, {"metadata": {"name": "busy", "namespace": "lab"}, "spec": spec})
            client.add(SECRETS, {"metadata": {"name": "stays", "namespace": "lab"}})
            held = {"name": "held", "namespace": "lab", "finalizers": ["example.com/hold"]}
            client.add(CONFIG_MAPS, {"metadata": held})
            add_namespace(client, deletionTimestamp=deleted_at, finalizers=["test/wait"])
            await w.settle()
            failure = "NamespaceDeletionContentFailure"
            assert w.conditions(NAMESPACES, "lab", "")[failure] == ("False", "ContentDeleted")
            await client.delete(PODS, "busy", "lab", grace_period_seconds=0)
            await w.settle()
            found = client.peek(NAMESPACES, "lab")
            assert meta.find_condition(found, failure)["message"] == (
                "Failed to delete all resource types, 1 remaining: "
                "unexpected items still remain in namespace: lab for gvr: /v1, Resource=secrets"
            )
            assert meta.find_condition(found, "NamespaceFinalizersRemaining")["message"] == (
                "Some finalizers are remaining: example.com/hold in 1 resource instances"
            )

    asyncio.run(scenario())


def test_what_is_in_the_way_is_told_in_upstreams_words() -> None:
    remains = Remains(
        resources={PODS: 2, SECRETS: 1},
        finalizers={"example.com/hold": 1},
        errors=["boom"],
        undiscovered={"metrics.k8s.io/v1beta1": "the server is currently unable to handle the request"},
    )
    decided = namespace.plan({}, remains, 0.0)
    assert not decided.finalize
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in decided.conditions] == [
        (
            "NamespaceDeletionDiscoveryFailure",
            "True",
            "DiscoveryFailed",
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
            "metrics.k8s.io/v1beta1: the server is currently unable to handle the request",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "True",
            "ContentDeletionFailed",
            "Failed to delete all resource types, 1 remaining: boom",
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: pods. has 2 resource instances, secrets. has 1 resource instances",
        ),
        (
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizerRemain",
            "Some finalizers are remaining: example.com/hold in 1 resource instances",
        ),
    ]


def test_an_empty_namespace_may_go() -> None:
    decided = namespace.plan({}, Remains(), 0.0)
    assert decided.finalize
    assert {c["status"] for c in decided.conditions} == {"False"}
