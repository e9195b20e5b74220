"""What upstream's conformance suite asks of the APIs of core/v1 and of storage classes, without pods that run.

Follows test/e2e: auth/service_accounts.go, instrumentation/core_events.go, network/{service,endpoints,apiserver}.go,
common/node/{configmap,secrets}.go, common/storage/{configmap,secrets}_volume.go, node/node_lifecycle.go,
storage/{csi_inline,storageclass}.go.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from proa.client.api import ApiClient
from proa.objects.resource import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from support.api_operations import run_with_api

CORE = "/api/v1/namespaces/default"
CONFIG_MAPS, SECRETS, EVENTS = f"{CORE}/configmaps", f"{CORE}/secrets", f"{CORE}/events"
ACCOUNTS, PODS, NODES = f"{CORE}/serviceaccounts", f"{CORE}/pods", "/api/v1/nodes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
STATIC = "labelSelector=static%3Dtrue"


def named(name: str, **fields: Any) -> Any:
    return {"metadata": {"name": name, "labels": {"static": "true"}}, **fields}


class TestServiceAccounts:
    @pytest.mark.parametrize(
        ("account", "pod", "mounted"),
        [
            (None, None, True),
            (True, None, True),
            (False, None, False),
            (None, True, True),
            (True, True, True),
            (False, True, True),
            (None, False, False),
            (True, False, False),
            (False, False, False),
        ],
    )
    def test_opting_out_of_tokens(
        self, api: Any, account: bool | None, pod: bool | None, mounted: bool
    ) -> None:
        """[sig-auth] ServiceAccounts should allow opting out of API token automount [Conformance]"""
        api.post(ACCOUNTS, named("mount", automountServiceAccountToken=account))
        spec = {
            "serviceAccountName": "mount",
            "automountServiceAccountToken": pod,
            "restartPolicy": "Never",
            "containers": [{"name": "token-test", "image": "registry.example/app:1"}],
        }
        (container,) = api.post(PODS, named("p", spec=spec))["spec"]["containers"]
        assert (MOUNT in [m["mountPath"] for m in container.get("volumeMounts", ())]) == mounted

    def test_lifecycle(self, api: Any) -> None:
        """[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]"""
        made = api.post(ACCOUNTS, named("life"))
        patched = api.patch(f"{ACCOUNTS}/life", {"automountServiceAccountToken": False})
        assert patched["automountServiceAccountToken"] is False
        assert api.names(f"/api/v1/serviceaccounts?{STATIC}") == ["life"]
        api.delete(f"{ACCOUNTS}?{STATIC}")
        assert api.history(ACCOUNTS, made, 2) == [("MODIFIED", "life"), ("DELETED", "life")]

    def test_update(self, api: Any) -> None:
        """[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]"""
        made = api.post(ACCOUNTS, named("sa", automountServiceAccountToken=False))
        updated = api.put(f"{ACCOUNTS}/sa", {**made, "automountServiceAccountToken": True})
        assert updated["automountServiceAccountToken"] is True


class TestEvents:
    def make(self, name: str) -> Any:
        about = {"involvedObject": {"namespace": "default"}, "reason": "Test", "type": "Normal", "count": 1}
        return named(name, message="This is a test event", **about)

    def test_lifecycle(self, api: Any) -> None:
        """[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]"""
        api.post(EVENTS, self.make("event-test"))
        assert api.names(f"/api/v1/events?{STATIC}") == ["event-test"]
        api.patch(f"{EVENTS}/event-test", {"message": "This is a test event - patched"})
        assert api.get(f"{EVENTS}/event-test")["message"] == "This is a test event - patched"
        api.delete(f"{EVENTS}/event-test")
        assert api.names(f"/api/v1/events?{STATIC}") == []

    def test_a_collection(self, api: Any) -> None:
        """[sig-instrumentation] Events should delete a collection of events [Conformance]"""
        for name in ("e1", "e2", "e3"):
            api.post(EVENTS, self.make(name))
        assert len(api.names(f"{EVENTS}?{STATIC}")) == 3
        api.delete(f"{EVENTS}?{STATIC}")
        assert api.names(f"{EVENTS}?{STATIC}") == []


def test_lifecycle_of_endpoints(api: Any) -> None:
    """[sig-network] Endpoints should test the lifecycle of an Endpoint [Conformance]"""
    path = f"{CORE}/endpoints"

    def subsets(address: str, port: int) -> Any:
        ports = [{"name": "http", "port": port, "protocol": "TCP"}]
        return [{"addresses": [{"ip": address}], "ports": ports}]

    made = api.post(path, named("e", subsets=subsets("10.0.0.24", 80)))
    assert api.names(f"/api/v1/endpoints?{STATIC}") == ["e"]
    labels = {"static": "true", "updated": "true"}
    api.put(f"{path}/e", {**made, "metadata": {**made["metadata"], "labels": labels}})
    assert api.get(f"{path}/e")["metadata"]["labels"] == labels
    patch = {"metadata": {"labels": {"patched": "true"}}, "subsets": subsets("10.0.0.25", 8080)}
    assert api.patch(f"{path}/e", patch)["subsets"] == patch["subsets"]
    api.delete(f"{path}?{STATIC}")
    assert [kind for kind, _ in api.history(path, made, 3)] == ["MODIFIED", "MODIFIED", "DELETED"]


class TestServices:
    PATH = f"{CORE}/services"

    def make(self, name: str, **spec: Any) -> Any:
        return named(name, spec={"ports": [{"name": "http", "port": 80, "targetPort": 80}], **spec})

    def test_change_of_type(self, api: Any) -> None:
        """[sig-network] Services should be able to change the type from ClusterIP to ExternalName [Conformance], the
        Service's part"""
        made = api.post(self.PATH, self.make("s", type="ClusterIP"))
        assert made["spec"]["clusterIP"]
        spec = {**made["spec"], "type": "ExternalName", "externalName": "other.default.svc.cluster.local"}
        changed = api.put(f"{self.PATH}/s", {**made, "spec": spec})
        assert (changed["spec"]["type"], changed["spec"].get("clusterIP", "")) == ("ExternalName", "")

    def test_status(self, api: Any) -> None:
        """[sig-network] Services should complete a service status lifecycle [Conformance]"""
        made = api.post(self.PATH, self.make("s", type="LoadBalancer"))
        assert api.names(f"/api/v1/services?{STATIC}") == ["s"]
        assert api.get(f"{self.PATH}/s/status")["status"] == {"loadBalancer": {}}
        balancer = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
        patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": balancer}
        patched = api.patch(f"{self.PATH}/s/status", patch, "merge")
        assert patched["metadata"]["annotations"] == {"patchedstatus": "true"}
        assert patched["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1"
        condition = {
            "type": "StatusUpdate",
            "status": "True",
            "reason": "E2E",
            "message": "Set from e2e test",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        body = {**patched, "status": {**patched["status"], "conditions": [condition]}}
        assert api.put(f"{self.PATH}/s/status", body)["status"]["conditions"] == [condition]
        labels = {"metadata": {"labels": {"test-service": "patched"}}}
        assert api.patch(f"{self.PATH}/s", labels)["status"]["conditions"] == [condition]
        api.delete(f"{self.PATH}/s")
        events = [kind for kind, _ in api.history(self.PATH, made, 4)]
        assert events == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]

    def test_a_collection(self, api: Any) -> None:
        """[sig-network] Services should delete a collection of services [Conformance]"""
        for name, label in (("s1", "blue"), ("s2", "blue"), ("s3", "green")):
            body = self.make(name)
            body["metadata"]["labels"] = {"static": "true", "colour": label}
            api.post(self.PATH, body)
        assert api.names(f"{self.PATH}?{STATIC}") == ["s1", "s2", "s3"]
        api.delete(f"{self.PATH}?labelSelector=colour%3Dblue")
        assert api.names(f"{self.PATH}?{STATIC}") == ["s3"]


class TestTheServersOwnService:
    def test_it_is_found(self) -> None:
        """[sig-network] Services should find a service from listing all namespaces [Conformance]"""

        async def scenario(client: ApiClient) -> None:
            found = (await client.list(SERVICES)).items
            assert ("default", "kubernetes") in [
                (s["metadata"]["namespace"], s["metadata"]["name"]) for s in found
            ]

        run_with_api(scenario)

    def test_it_is_secure(self) -> None:
        """[sig-network] API Server should provide secure master service [Conformance]"""

        async def scenario(client: ApiClient) -> None:
            service = await client.get(SERVICES, "kubernetes", "default")
            assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("https", 443)]

        run_with_api(scenario)

    def test_its_endpoints(self) -> None:
        """[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]"""

        async def scenario(client: ApiClient) -> None:
            endpoints = await client.get(ENDPOINTS, "kubernetes", "default")
            (subset,) = endpoints["subsets"]
            query = "kubernetes.io/service-name=kubernetes"
            (piece,) = (await client.list(ENDPOINT_SLICES, "default", label_selector=query)).items
            assert piece["metadata"]["name"] == "kubernetes"
            assert [e["addresses"] for e in piece["endpoints"]] == [[a["ip"]] for a in subset["addresses"]]
            assert [p["port"] for p in piece["ports"]] == [p["port"] for p in subset["ports"]]
            assert [p["name"] for p in piece["ports"]] == ["https"]

        run_with_api(scenario)


class TestConfigMaps:
    def test_an_empty_key(self, api: Any) -> None:
        """[sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]"""
        api.expect(422, "POST", CONFIG_MAPS, named("c", data={"": "value-1"}))

    def test_update(self, api: Any) -> None:
        """[sig-node] ConfigMap should update ConfigMap successfully [Conformance] [NodeConformance]"""
        made = api.post(CONFIG_MAPS, named("c", data={"data-1": "value-1"}))
        api.put(f"{CONFIG_MAPS}/c", {**made, "data": {"data": "value"}})
        assert api.get(f"{CONFIG_MAPS}/c")["data"] == {"data": "value"}

    def test_lifecycle(self, api: Any) -> None:
        """[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]"""
        made = api.post(CONFIG_MAPS, named("c", data={"valueName": "value"}))
        patch = {"metadata": {"labels": {"updated": "true"}}, "data": {"valueName": "value1"}}
        api.patch(f"{CONFIG_MAPS}/c", patch)
        found = api.get(f"{CONFIG_MAPS}/c")
        assert (found["data"], found["metadata"]["labels"]["updated"]) == ({"valueName": "value1"}, "true")
        assert api.names(f"/api/v1/configmaps?{STATIC}") == ["c"]
        api.delete(f"{CONFIG_MAPS}?{STATIC}")
        assert api.history(CONFIG_MAPS, made, 2) == [("MODIFIED", "c"), ("DELETED", "c")]
        assert api.names(f"{CONFIG_MAPS}?{STATIC}") == []


class TestSecrets:
    def test_an_empty_key(self, api: Any) -> None:
        """[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]"""
        api.expect(422, "POST", SECRETS, named("s", data={"": "dmFsdWUtMQ=="}))

    def test_patch(self, api: Any) -> None:
        """[sig-node] Secrets should patch a secret [Conformance]"""
        api.post(SECRETS, named("s", data={"key": base64.b64encode(b"value").decode()}, type="Opaque"))
        assert "s" in api.names("/api/v1/secrets")
        value = base64.b64encode(b"value1").decode()
        api.patch(f"{SECRETS}/s", {"metadata": {"labels": {"testsecret": "true"}}, "data": {"key": value}})
        found = api.get(f"{SECRETS}/s")
        assert (found["data"], found["metadata"]["labels"]["testsecret"]) == ({"key": value}, "true")
        api.delete(f"{SECRETS}?labelSelector=testsecret%3Dtrue")
        assert api.names(f"/api/v1/secrets?{STATIC}") == []


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [(CONFIG_MAPS, "value-1", "value-2"), (SECRETS, "dmFsdWUtMQ==", "dmFsdWUtMg==")],
    ids=("configmap", "secret"),
)
def test_immutable(api: Any, path: str, first: str, second: str) -> None:
    """[sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]
    [sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]"""
    made = api.post(path, named("i", data={"data-1": first}))
    changed = api.put(f"{path}/i", {**made, "data": {"data-1": first, "data-4": first}})
    fixed = api.put(f"{path}/i", {**changed, "immutable": True})
    for wrong in (
        {**fixed, "data": {"data-1": first, "data-4": second}},
        {**fixed, "immutable": False},
        {**fixed, "data": {"data-1": second}, "immutable": False},
        {**fixed, "data": {"data-1": second}, "immutable": None},
    ):
        assert api.expect(422, "PUT", f"{path}/i", wrong)["reason"] == "Invalid"
    metadata = {**fixed["metadata"], "labels": {"label1": "value1"}}
    assert api.put(f"{path}/i", {**fixed, "metadata": metadata})["metadata"]["labels"] == {"label1": "value1"}
    api.delete(f"{path}/i")


def test_lifecycle_of_a_node(api: Any) -> None:
    """[sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]"""
    ready = {"type": "Ready", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    status = {"phase": "Running", "conditions": [ready]}
    made = api.post(NODES, named("fake", spec={"unschedulable": True}, status=status))
    assert api.get(f"{NODES}/fake")["metadata"]["name"] == "fake"
    patched = api.patch(f"{NODES}/fake", {"metadata": {"labels": {"fake": "patched"}}})
    assert patched["metadata"]["labels"]["fake"] == "patched"
    assert int(patched["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert api.names(f"{NODES}?labelSelector=fake%3Dpatched") == ["fake"]
    found = api.get(f"{NODES}/fake")
    found["metadata"]["labels"]["fake"] = "updated"
    assert api.put(f"{NODES}/fake", found)["metadata"]["labels"]["fake"] == "updated"
    api.delete(f"{NODES}/fake")
    api.expect(404, "GET", f"{NODES}/fake")


def test_inline_volumes(api: Any) -> None:
    """[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]"""
    volumes = [
        {"name": "csi-inline-vol1", "csi": {"driver": "e2e.example.com"}},
        {
            "name": "csi-inline-vol2",
            "csi": {"driver": "e2e.example.com", "fsType": "ext4", "readOnly": True},
        },
    ]
    containers = [{"name": "pod", "image": "registry.example/app:1", "command": ["/bin/false"]}]
    api.post(PODS, named("p", spec={"containers": containers, "volumes": volumes, "restartPolicy": "Never"}))
    assert [v for v in api.get(f"{PODS}/p")["spec"]["volumes"] if "csi" in v] == volumes
    assert api.names(f"{PODS}?{STATIC}") == ["p"]
    patched = api.patch(f"{PODS}/p", {"metadata": {"labels": {"test": "patched"}}})
    assert patched["metadata"]["labels"]["test"] == "patched"
    api.expect(200, "DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
    api.expect(404, "GET", f"{PODS}/p")


def test_lifecycle_of_a_storage_class(api: Any) -> None:
    """[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]"""

    def make(name: str) -> Any:
        return named(name, provisioner="e2e-fake-provisioner", reclaimPolicy="Delete", parameters={"a": "b"})

    made = api.post(CLASSES, make("one"))
    assert made["volumeBindingMode"] == "Immediate"
    assert api.get(f"{CLASSES}/one")["provisioner"] == "e2e-fake-provisioner"
    patched = api.patch(f"{CLASSES}/one", {"metadata": {"labels": {"one": "patched"}}})
    assert api.names(f"{CLASSES}?labelSelector=one%3Dpatched") == ["one"]
    patched["metadata"]["labels"]["one"] = "updated"
    assert api.put(f"{CLASSES}/one", patched)["metadata"]["labels"]["one"] == "updated"
    api.delete(f"{CLASSES}/one")
    api.expect(404, "GET", f"{CLASSES}/one")
    api.post(CLASSES, make("two"))
    api.delete(f"{CLASSES}?{STATIC}")
    assert api.names(f"{CLASSES}?{STATIC}") == []
