"""What upstream's conformance suite asks of the controllers that make the API whole: garbage, namespaces, quotas,
endpoints. Pods have a kubelet that only writes their status.

Follows test/e2e: apimachinery/{garbage_collector,namespace,resource_quota}.go, auth/service_accounts.go,
network/{endpoints,endpointslice}.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from support.control_plane import Cluster, running

LABELS = {"app": "e2e"}


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Cluster], Coroutine[Any, Any, None]]], None]:
    """Return a function that plays a scenario on a control plane of its own."""

    def play(scenario: Callable[[Cluster], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with running(tmp_path) as cluster:
                await cluster.until(lambda: cluster.has(SERVICE_ACCOUNTS, "default"))
                await scenario(cluster)

        asyncio.run(run())

    return play


def template(**spec: Any) -> Object:
    containers = [{"name": "c", "image": "registry.example/app:1"}]
    return {"metadata": {"labels": LABELS}, "spec": {"containers": containers, **spec}}


def pod(name: str, *owners: Object, finalizers: tuple[str, ...] = (), **spec: Any) -> Object:
    made = template(**spec)
    metadata = {"name": name, "labels": LABELS, "finalizers": list(finalizers)}
    return {**made, "metadata": {**metadata, "ownerReferences": list(owners)}}


def owner(obj: Object, kind: str, api_version: str = "v1") -> Object:
    name, uid = meta.name(obj), meta.uid(obj)
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": True}


async def controller_with_pods(c: Cluster, name: str, count: int) -> Object:
    """Return a controller that has made its pods; what it selects is its own."""
    selector = {"controller": name}
    spec = {"replicas": count, "selector": selector, "template": template()}
    spec["template"]["metadata"] = {"labels": selector}
    made = await c.client.create(
        REPLICATION_CONTROLLERS, {"metadata": {"name": name}, "spec": spec}, "default"
    )

    async def has_pods() -> bool:
        return len(await pods_of(c, name)) == count

    await c.until(has_pods)
    return made


async def pods_of(c: Cluster, name: str) -> list[Object]:
    return [pod for pod in await c.all(PODS) if meta.labels(pod) == {"controller": name}]


async def names(c: Cluster, resource: Any, namespace: str = "default") -> list[str]:
    return sorted(meta.name(obj) for obj in await c.all(resource, namespace))


class TestGarbage:
    @pytest.mark.parametrize("orphan", [False, True])
    def test_replica_sets_of_a_deployment(self, play: Any, orphan: bool) -> None:
        """[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning
        [Conformance]
        [sig-api-machinery] Garbage collector should orphan RS created by deployment when
        deleteOptions.PropagationPolicy is Orphan [Conformance]"""

        async def scenario(c: Cluster) -> None:
            spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template()}
            await c.client.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec}, "default")
            (made,) = await c.until(lambda: c.all(REPLICA_SETS))
            policy = "Orphan" if orphan else "Background"
            await c.client.delete(DEPLOYMENTS, "d", "default", propagation_policy=policy)
            await c.until(lambda: c.is_gone(DEPLOYMENTS, "d"))
            if orphan:
                (left,) = await c.all(REPLICA_SETS)
                assert (meta.uid(left), left["metadata"].get("ownerReferences")) == (meta.uid(made), None)
            else:
                await c.until(lambda: c.is_gone(REPLICA_SETS, meta.name(made)))

        play(scenario)

    def test_pods_of_a_controller(self, play: Any) -> None:
        """[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]
        [sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Conformance]
        [Serial]"""

        async def scenario(c: Cluster) -> None:
            await controller_with_pods(c, "swept", 2)
            await controller_with_pods(c, "left", 2)
            for name, policy in (("swept", "Background"), ("left", "Orphan")):
                await c.client.delete(
                    REPLICATION_CONTROLLERS,
                    name,
                    "default",
                    propagation_policy=policy,  # type: ignore[arg-type]
                )
            await c.until(lambda: c.is_gone(REPLICATION_CONTROLLERS, "left"))

            async def are_swept() -> bool:
                return await pods_of(c, "swept") == []

            await c.until(are_swept)
            left = await pods_of(c, "left")
            assert [p["metadata"].get("ownerReferences") for p in left] == [None, None]

        play(scenario)

    def test_the_owner_stays_until_its_pods_are_gone(self, play: Any) -> None:
        """[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the
        deleteOptions says so [Conformance] [Serial]"""

        async def scenario(c: Cluster) -> None:
            await controller_with_pods(c, "rc", 2)
            held = meta.name((await c.all(PODS))[0])
            hold = {"metadata": {"finalizers": ["e2e.example.com/hold"]}}
            await c.client.patch(PODS, held, hold, "default")
            await c.client.delete(REPLICATION_CONTROLLERS, "rc", "default", propagation_policy="Foreground")

            async def is_waiting() -> bool:
                return await names(c, PODS) == [held]

            await c.until(is_waiting)
            found = await c.client.get(REPLICATION_CONTROLLERS, "rc", "default")
            assert found["metadata"]["finalizers"] == ["foregroundDeletion"]
            await c.client.patch(PODS, held, {"metadata": {"finalizers": None}}, "default")
            await c.until(lambda: c.is_gone(REPLICATION_CONTROLLERS, "rc"))
            assert await c.all(PODS) == []

        play(scenario)

    def test_two_owners(self, play: Any) -> None:
        """[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner
        that's waiting for dependents to be deleted [Conformance] [Serial]"""

        async def scenario(c: Cluster) -> None:
            await controller_with_pods(c, "going", 2)
            staying = await controller_with_pods(c, "staying", 0)
            shared = (await c.all(PODS))[0]
            both = [*meta.owner_references(shared), owner(staying, "ReplicationController")]
            patch = {"metadata": {"ownerReferences": both}}
            await c.client.patch(PODS, meta.name(shared), patch, "default")
            await c.client.delete(
                REPLICATION_CONTROLLERS, "going", "default", propagation_policy="Foreground"
            )
            await c.until(lambda: c.is_gone(REPLICATION_CONTROLLERS, "going"))
            (left,) = await c.all(PODS)
            assert [o["name"] for o in left["metadata"]["ownerReferences"]] == ["staying"]
            assert "deletionTimestamp" not in left["metadata"]

        play(scenario)

    def test_a_circle(self, play: Any) -> None:
        """[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]"""

        async def scenario(c: Cluster) -> None:
            made = {n: await c.client.create(PODS, pod(n), "default") for n in ("p1", "p2", "p3")}
            for dependent, of in (("p1", "p3"), ("p2", "p1"), ("p3", "p2")):
                references = [owner(made[of], "Pod")]
                patch = {"metadata": {"ownerReferences": references}}
                await c.client.patch(PODS, dependent, patch, "default")
            await c.client.delete(PODS, "p1", "default", propagation_policy="Foreground")

            async def are_gone() -> bool:
                return await c.all(PODS) == []

            await c.until(are_gone)

        play(scenario)


class TestNamespaces:
    def test_what_is_in_it_goes_first_pods_before_all(self, play: Any) -> None:
        """[sig-api-machinery] Namespaces should ensure that all pods are removed when a namespace is deleted
        [Conformance] [Serial]
        [sig-api-machinery] Namespaces should ensure that all services are removed when a namespace is deleted
        [Conformance] [Serial]
        [sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]"""

        async def scenario(c: Cluster) -> None:
            await c.client.create(NAMESPACES, {"metadata": {"name": "lab"}})
            await c.until(lambda: c.has(CONFIG_MAPS, "kube-root-ca.crt", "lab"))
            await c.until(lambda: c.has(SERVICE_ACCOUNTS, "default", "lab"))
            held = pod("held", finalizers=("e2e.example.com/hold",))
            await c.client.create(PODS, held, "lab")
            await c.client.create(CONFIG_MAPS, {"metadata": {"name": "mine"}}, "lab")
            service = {"metadata": {"name": "s"}, "spec": {"selector": LABELS, "ports": [{"port": 80}]}}
            await c.client.create(SERVICES, service, "lab")
            await c.client.delete(NAMESPACES, "lab")

            async def waits_for_the_pod() -> bool:
                found = await c.client.get(NAMESPACES, "lab")
                conditions = {x["type"]: x["status"] for x in found["status"].get("conditions") or ()}
                return conditions.get("NamespaceContentRemaining") == "True"

            await c.until(waits_for_the_pod)
            assert await names(c, PODS, "lab") == ["held"]
            assert await c.has(CONFIG_MAPS, "mine", "lab")
            assert await c.has(SERVICES, "s", "lab")
            await c.client.patch(PODS, "held", {"metadata": {"finalizers": None}}, "lab")
            await c.until(lambda: c.is_gone(NAMESPACES, "lab", None))
            await c.client.create(NAMESPACES, {"metadata": {"name": "lab"}})
            for resource in (PODS, SERVICES):
                assert await c.all(resource, "lab") == []

        play(scenario)

    def test_each_has_the_authority(self, play: Any) -> None:
        """[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]"""

        async def scenario(c: Cluster) -> None:
            name = "kube-root-ca.crt"
            await c.client.create(NAMESPACES, {"metadata": {"name": "lab"}})
            await c.until(lambda: c.has(CONFIG_MAPS, name, "lab"))
            first = await c.client.get(CONFIG_MAPS, name, "lab")
            await c.client.delete(CONFIG_MAPS, name, "lab")

            async def is_back() -> bool:
                found = {meta.name(o): o for o in await c.all(CONFIG_MAPS, "lab")}.get(name)
                return found is not None and meta.uid(found) != meta.uid(first)

            await c.until(is_back)
            await c.client.patch(CONFIG_MAPS, name, {"data": {"ca.crt": ""}}, "lab")

            async def is_mended() -> bool:
                found = await c.client.get(CONFIG_MAPS, name, "lab")
                return bool(found["data"] == first["data"])

            await c.until(is_mended)

        play(scenario)


class TestQuotas:
    async def expect_used(self, c: Cluster, name: str, **used: str) -> None:
        wanted = {key.replace("__", "/").replace("_", "."): amount for key, amount in used.items()}

        async def is_so() -> bool:
            found = await c.client.get(RESOURCE_QUOTAS, name, "default")
            return wanted.items() <= ((found.get("status") or {}).get("used") or {}).items()

        await c.until(is_so)

    async def create(self, c: Cluster, name: str, hard: dict[str, str], *scopes: str) -> None:
        spec = {"hard": hard, "scopes": list(scopes)}
        await c.client.create(RESOURCE_QUOTAS, {"metadata": {"name": name}, "spec": spec}, "default")

    def test_status(self, play: Any) -> None:
        """[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.
        [Conformance]"""

        async def scenario(c: Cluster) -> None:
            await self.create(c, "q", {"pods": "5", "resourcequotas": "1"})
            await self.expect_used(c, "q", pods="0", resourcequotas="1")

        play(scenario)

    def test_objects_are_counted(self, play: Any) -> None:
        """[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap.
        [Conformance]
        [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. [Conformance]
        [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service.
        [Conformance]
        [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set.
        [Conformance]
        [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication
        controller. [Conformance]"""
        kinds = {
            "configmaps": (CONFIG_MAPS, {"data": {"a": "b"}}, 1),
            "secrets": (SECRETS, {"data": {"a": "Yg=="}}, 0),
            "services": (SERVICES, {"spec": {"ports": [{"port": 80}]}}, 1),
            "count__replicasets_apps": (
                REPLICA_SETS,
                {"spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": template()}},
                0,
            ),
            "replicationcontrollers": (
                REPLICATION_CONTROLLERS,
                {"spec": {"replicas": 0, "selector": LABELS, "template": template()}},
                0,
            ),
        }

        async def scenario(c: Cluster) -> None:
            await c.until(lambda: c.has(CONFIG_MAPS, "kube-root-ca.crt"))
            hard = {key.replace("__", "/").replace("_", "."): str(n + 1) for key, (_, _, n) in kinds.items()}
            await self.create(c, "q", hard)
            before = {key: str(n) for key, (_, _, n) in kinds.items()}
            await self.expect_used(c, "q", **before)
            for resource, body, _ in kinds.values():
                await c.client.create(resource, {"metadata": {"name": "x"}, **body}, "default")
            await self.expect_used(c, "q", **{key: str(n + 1) for key, (_, _, n) in kinds.items()})
            for resource, _, _ in kinds.values():
                await c.client.delete(resource, "x", "default", propagation_policy="Background")
            await self.expect_used(c, "q", **before)

        play(scenario)

    def test_pods(self, play: Any) -> None:
        """[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]
        [sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]
        [sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]"""

        async def scenario(c: Cluster) -> None:
            await self.create(c, "all", {"pods": "5", "cpu": "1", "memory": "500Mi"})
            for scope in ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating"):
                await self.create(c, scope.lower(), {"pods": "5"}, scope)
            resources = {"requests": {"cpu": "500m", "memory": "252Mi"}}
            containers = [{"name": "c", "image": "registry.example/app:1", "resources": resources}]
            await c.client.create(
                PODS, pod("p", containers=containers, activeDeadlineSeconds=3600), "default"
            )
            await self.expect_used(c, "all", pods="1", cpu="500m", memory="252Mi")
            await self.expect_used(c, "besteffort", pods="0")
            await self.expect_used(c, "notbesteffort", pods="1")
            await self.expect_used(c, "terminating", pods="1")
            await self.expect_used(c, "notterminating", pods="0")
            await c.client.delete(PODS, "p", "default", grace_period_seconds=0)
            await self.expect_used(c, "all", pods="0", cpu="0", memory="0")
            await self.expect_used(c, "terminating", pods="0")
            await self.expect_used(c, "notbesteffort", pods="0")

        play(scenario)


class TestEndpoints:
    def service(self, name: str, **spec: Any) -> Object:
        return {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}], **spec}}

    def test_pods_that_match(self, play: Any) -> None:
        """[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service
        [Conformance]
        [sig-network] EndpointsController should create Endpoints for Pods matching a Service [Conformance]"""

        async def scenario(c: Cluster) -> None:
            await c.client.create(SERVICES, self.service("s", selector=LABELS), "default")
            for name in ("p1", "p2"):
                await c.client.create(PODS, pod(name), "default")

            async def addresses() -> bool:
                pods = {p["status"].get("podIP") for p in await c.all(PODS)}
                label = "kubernetes.io/service-name=s"
                slices = (await c.client.list(ENDPOINT_SLICES, "default", label_selector=label)).items
                in_slices = {a for s in slices for e in s.get("endpoints") or () for a in e["addresses"]}
                found = [e for e in await c.all(ENDPOINTS) if meta.name(e) == "s"]
                subsets = [subset for e in found for subset in e.get("subsets") or ()]
                in_endpoints = {a["ip"] for subset in subsets for a in subset.get("addresses") or ()}
                return len(pods) == 2 and None not in pods and pods == in_slices == in_endpoints

            await c.until(addresses)

        play(scenario)

    def test_no_pods(self, play: Any) -> None:
        """[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector that
        matches no pods [Conformance]
        [sig-network] EndpointsController should create and delete Endpoints for a Service with a selector that matches
        no pods [Conformance]"""

        async def scenario(c: Cluster) -> None:
            await c.client.create(SERVICES, self.service("s", selector={"does-not": "match"}), "default")

            async def slices() -> list[Object]:
                label = "kubernetes.io/service-name=s"
                return (await c.client.list(ENDPOINT_SLICES, "default", label_selector=label)).items

            await c.until(lambda: c.has(ENDPOINTS, "s"))
            (made,) = await c.until(slices)
            assert not made.get("endpoints")
            await c.client.delete(SERVICES, "s", "default")
            await c.until(lambda: c.is_gone(ENDPOINTS, "s"))

            async def are_gone() -> bool:
                return await slices() == []

            await c.until(are_gone)

        play(scenario)


def test_endpoints_of_ones_own_are_mirrored(play: Any) -> None:
    """[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete
    [Conformance]"""

    async def scenario(c: Cluster) -> None:
        spec = {"ports": [{"name": "example", "port": 80}]}
        await c.client.create(SERVICES, {"metadata": {"name": "custom"}, "spec": spec}, "default")

        def endpoints(*addresses: str) -> Object:
            subset = {
                "addresses": [{"ip": ip} for ip in addresses],
                "ports": [{"name": "example", "port": 9000}],
            }
            return {"metadata": {"name": "custom"}, "subsets": [subset]}

        async def mirrored() -> list[list[str]]:
            found = await c.client.list(
                ENDPOINT_SLICES, "default", label_selector="kubernetes.io/service-name=custom"
            )
            return [sorted(e["addresses"][0] for e in one["endpoints"]) for one in found.items]

        async def has(*addresses: str) -> bool:
            return await mirrored() == [list(addresses)]

        await c.client.create(ENDPOINTS, endpoints("10.1.2.3"), "default")
        await c.until(lambda: has("10.1.2.3"))
        patch = {"subsets": endpoints("10.1.2.3", "10.2.3.4")["subsets"]}
        await c.client.patch(ENDPOINTS, "custom", patch, "default")
        await c.until(lambda: has("10.1.2.3", "10.2.3.4"))
        await c.client.delete(ENDPOINTS, "custom", "default")

        async def has_none() -> bool:
            return await mirrored() == []

        await c.until(has_none)

    play(scenario)
