"""InferenceGraphs reconciled over an API in memory, where deployments, services and the gateway do as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.ml.grpc.door import Door
from proa.ml.serving.graph.controller import make_controllers
from proa.ml.serving.graph.targets import NotReady, find_url
from proa.ml.serving.kinds import CONFIG_MAP, INFERENCE_GRAPHS, INFERENCE_SERVICES
from proa.ml.serving.routing.parts import GATEWAYS, HTTP_ROUTES
from proa.ml.serving.settings import ServingSettings
from proa.objects import meta
from proa.objects.resource import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    NAMESPACES,
    SERVICES,
)
from proa.reconcile.manager import Manager

NOW = 1_750_000_000.0
NODES = {"root": {"routerType": "Sequence", "steps": [{"serviceName": "a"}, {"serviceUrl": "http://b/x"}]}}
MODEL = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}}


class World:
    """A cluster in which everything but the graphs' reconciler is played by the test."""

    def __init__(self) -> None:
        self.client = FakeClient(now=lambda: NOW)
        for namespace in ("kserve", "ml"):
            self.client.add(NAMESPACES, {"metadata": {"name": namespace}})
        self.manager = Manager(
            self.client,
            make_controllers(ServingSettings(Door(), gateway_class="proa")),
            now=lambda: NOW,
            random=lambda: 0.5,
        )

    async def apply(self, spec: Object | None = None, **annotations: str) -> None:
        found = self.client.peek(INFERENCE_GRAPHS, "g", "ml")
        told = {key.replace("_", "/"): value for key, value in annotations.items()}
        metadata = {"name": "g", "namespace": "ml", "annotations": told, "labels": {"team": "blue"}}
        spec = {"nodes": NODES, **(spec or {})}
        if found is None:
            await self.client.create(INFERENCE_GRAPHS, {"metadata": metadata, "spec": spec}, "ml")
        else:
            metadata = {**found["metadata"], "annotations": told}
            await self.client.update(INFERENCE_GRAPHS, {**found, "metadata": metadata, "spec": spec})
        await self.settle()

    async def serve_model(self, name: str = "a") -> None:
        status = {"address": {"url": f"http://{name}.ml.svc.cluster.local"}}
        metadata = {"name": name, "namespace": "ml"}
        self.client.add(
            INFERENCE_SERVICES, {"metadata": metadata, "spec": {"predictor": MODEL}, "status": status}
        )
        await self.settle()

    async def run_router(self) -> None:
        """Have the router's pods be there, and the gateway lead to them."""
        for deployment in self.client.all(DEPLOYMENTS):
            self.client.add(DEPLOYMENTS, {**deployment, "status": {"availableReplicas": 1}})
        for gateway in self.client.all(GATEWAYS):
            self.client.add(GATEWAYS, {**gateway, "status": _told(gateway, "Accepted", "Programmed")})
        for route in self.client.all(HTTP_ROUTES):
            reference = {"namespace": "kserve", "name": "kserve-ingress-gateway"}
            parent = {"parentRef": reference, **_told(route, "Accepted", "ResolvedRefs")}
            self.client.add(HTTP_ROUTES, {**route, "status": {"parents": [parent]}})
        await self.settle()

    async def settle(self) -> None:
        quiet = 0
        async with asyncio.timeout(60):
            while quiet < 30:
                await asyncio.sleep(0)
                quiet = quiet + 1 if self.manager.is_idle() else 0

    @property
    def deployment(self) -> Object:
        (found,) = self.client.all(DEPLOYMENTS)
        return found

    @property
    def status(self) -> Object:
        graph = self.client.peek(INFERENCE_GRAPHS, "g", "ml")
        assert graph is not None
        status: Object = graph.get("status") or {}
        return status

    def conditions(self) -> dict[str, str]:
        return {one["type"]: one["status"] for one in self.status["conditions"]}

    def reason(self) -> tuple[str, str]:
        (ready,) = (one for one in self.status["conditions"] if one["type"] == "Ready")
        return ready.get("reason", ""), ready.get("message", "")

    def told_graph(self) -> Object:
        (container,) = self.deployment["spec"]["template"]["spec"]["containers"]
        told: Object = orjson.loads(container["args"][1])
        return told


def _told(obj: Object, *types: str) -> Object:
    return {
        "conditions": [
            {"type": one, "status": "True", "observedGeneration": meta.generation(obj)} for one in types
        ]
    }


def in_world(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World()
        running = asyncio.create_task(world.manager.run())
        try:
            await world.settle()
            await scenario(world)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


def test_a_graph_gets_a_router_an_address_and_a_status() -> None:
    async def scenario(world: World) -> None:
        await world.serve_model()
        await world.apply(
            {"maxReplicas": 3, "scaleTarget": 5, "timeout": 30, "nodeSelector": {"disk": "ssd"}}
        )

        assert world.conditions()["Ready"] == "Unknown"  # no pod yet, and the Gateway is not taken on
        assert "url" not in world.status
        steps = world.told_graph()["nodes"]["root"]["steps"]
        assert steps[0]["serviceUrl"] == "http://a.ml.svc.cluster.local/v1/models/a:predict"
        assert steps[1]["serviceUrl"] == "http://b/x"
        deployment = world.deployment
        assert meta.name(deployment) == "g-00001-deployment"
        assert meta.labels(deployment)["serving.knative.dev/revision"] == "g-00001"
        assert meta.labels(deployment)["team"] == "blue"
        annotations = meta.annotations(deployment)
        assert annotations["autoscaling.knative.dev/max-scale"] == "3"
        assert annotations["autoscaling.knative.dev/target"] == "5"
        pod = deployment["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"disk": "ssd"}
        assert pod["automountServiceAccountToken"] is False
        services = {meta.name(one): one["spec"]["type"] for one in world.client.all(SERVICES)}
        assert services == {"g": "ExternalName", "g-00001": "ClusterIP"}
        (route,) = world.client.all(HTTP_ROUTES)
        assert route["spec"]["hostnames"][:2] == ["g.ml.proa.localhost", "g.ml.svc.cluster.local"]
        assert route["spec"]["rules"][0]["timeouts"] == {"request": "30s"}
        assert meta.is_controlled_by(route, world.client.peek(INFERENCE_GRAPHS, "g", "ml") or {})

        await world.run_router()

        assert world.conditions() == {
            "ConfigurationsReady": "True", "Ready": "True", "RoutesReady": "True", "Stopped": "False",
        }  # fmt: skip
        assert world.status["url"] == "http://g.ml.proa.localhost"
        assert world.status["deploymentMode"] == "Knative"

    in_world(scenario)


def test_what_scaling_has_set_stays_and_a_change_of_the_graph_is_rolled() -> None:
    async def scenario(world: World) -> None:
        await world.serve_model()
        await world.apply({"maxReplicas": 3})
        await world.run_router()
        scaled = world.deployment
        world.client.add(DEPLOYMENTS, {**scaled, "spec": {**scaled["spec"], "replicas": 3}})
        before = world.told_graph()

        await world.apply(
            {"nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceUrl": "http://c"}]}}}
        )

        assert world.told_graph() != before
        assert world.deployment["spec"]["replicas"] == 3
        assert "autoscaling.knative.dev/max-scale" not in meta.annotations(world.deployment)
        assert world.conditions()["Ready"] == "True"

    in_world(scenario)


def test_a_graph_waits_for_its_services_and_keeps_what_serves() -> None:
    async def scenario(world: World) -> None:
        await world.apply()
        assert world.reason() == ("ServiceNotReady", "Failed to find graph service a")
        assert not world.client.all(DEPLOYMENTS)
        await world.serve_model()
        await world.run_router()
        assert world.conditions()["Ready"] == "True"
        await world.apply({"nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceName": "gone"}]}}})
        assert world.reason() == ("ServiceNotReady", "Failed to find graph service gone")
        assert world.told_graph()["nodes"]["root"]["steps"][0]["serviceName"] == "a"

    in_world(scenario)


def test_a_condition_that_is_none_is_told() -> None:
    async def scenario(world: World) -> None:
        step = {"serviceUrl": "http://b", "condition": "a==1"}
        await world.apply({"nodes": {"root": {"routerType": "Switch", "steps": [step]}}})
        reason, message = world.reason()
        assert reason == "InvalidSpec"
        assert message.startswith("spec.nodes[root].steps[0].condition: a comparison stands in #(...)")

    in_world(scenario)


def test_in_standard_mode_there_is_a_deployment_of_the_graphs_name_and_an_autoscaler() -> None:
    async def scenario(world: World) -> None:
        await world.serve_model()
        await world.apply(
            {"minReplicas": 2, "maxReplicas": 4}, **{"serving.kserve.io_deploymentMode": "Standard"}
        )
        await world.run_router()
        assert (meta.name(world.deployment), world.deployment["spec"]["replicas"]) == ("g", 2)
        (autoscaler,) = world.client.all(HORIZONTAL_POD_AUTOSCALERS)
        assert (autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"]) == (2, 4)
        (service,) = world.client.all(SERVICES)
        assert service["spec"]["selector"] == {"app": "isvc.g"}
        assert world.conditions() == {"Ready": "True", "Stopped": "False"}
        assert world.status["deploymentMode"] == "Standard"

    in_world(scenario)


def test_a_graph_that_is_stopped_has_nothing_and_goes_on_afterwards() -> None:
    async def scenario(world: World) -> None:
        await world.serve_model()
        await world.apply()
        await world.run_router()
        await world.apply(**{"serving.kserve.io_stop": "true"})
        assert not [
            *world.client.all(DEPLOYMENTS),
            *world.client.all(SERVICES),
            *world.client.all(HTTP_ROUTES),
        ]
        assert world.conditions() == {"Ready": "False", "Stopped": "True"}
        assert "url" not in world.status
        await world.apply()
        await world.run_router()
        assert world.conditions()["Ready"] == "True"

    in_world(scenario)


def test_the_configuration_says_image_resources_and_headers() -> None:
    router = {"image": "kserve/router:v1", "cpuRequest": "10m", "headers": {"propagate": ["X-.*", "Y"]}}

    async def scenario(world: World) -> None:
        data = {"router": orjson.dumps(router).decode()}
        world.client.add(CONFIG_MAPS, {"metadata": {"name": CONFIG_MAP, "namespace": "kserve"}, "data": data})
        await world.serve_model()
        await world.apply()
        (container,) = world.deployment["spec"]["template"]["spec"]["containers"]
        assert (container["image"], container.get("command")) == ("kserve/router:v1", None)
        assert container["env"] == [{"name": "PROPAGATE_HEADERS", "value": "X-.*,Y"}]
        assert container["resources"] == {"requests": {"cpu": "10m"}}

    in_world(scenario)


RUNTIMES: dict[str, Any] = {"v2": {"spec": {"protocolVersions": ["grpc-v2", "v2"]}}}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"predictor": MODEL}, "/v1/models/a:predict"),
        ({"predictor": {"sklearn": {"storageUri": "s3://m", "protocolVersion": "v2"}}}, "/v2/models/a/infer"),
        ({"predictor": {"onnx": {"storageUri": "s3://m"}}}, "/v2/models/a/infer"),
        ({"predictor": {"model": {**MODEL["model"], "runtime": "v2"}}}, "/v2/models/a/infer"),
        ({"predictor": {"model": {**MODEL["model"], "args": ["--model_name=x"]}}}, "/v1/models/x:predict"),
        ({"predictor": {"model": {**MODEL["model"], "args": ["--model-name", "x"]}}}, "/v1/models/x:predict"),
        ({"predictor": {"containers": [{"image": "i"}]}}, "/v1/models/a:predict"),
        (
            {"predictor": {"containers": [{"image": "i", "env": [{"name": "PROTOCOL", "value": "v2"}]}]}},
            "/v2/models/a/infer",
        ),
        (
            {"predictor": MODEL, "transformer": {"containers": [{"args": ["--model_name", "t"]}]}},
            "/v1/models/t:predict",
        ),
        ({"predictor": {"containers": [{"env": [{"name": "MULTI_MODEL_SERVER", "value": "true"}]}]}}, ""),
    ],
)
def test_a_service_is_asked_by_its_protocol_and_its_models_name(spec: Object, path: str) -> None:
    service = {"metadata": {"name": "a"}, "spec": spec, "status": {"address": {"url": "http://a"}}}
    assert find_url(service, RUNTIMES.get) == f"http://a{path}"


def test_a_runtime_that_graphs_cannot_speak_to_is_told() -> None:
    service = {
        "metadata": {"name": "a"},
        "spec": {"predictor": {"model": {**MODEL["model"], "runtime": "g"}}},
    }
    with pytest.raises(NotReady, match="service a is not ready"):
        find_url(service, RUNTIMES.get)
    ready = {**service, "status": {"address": {"url": "http://a"}}}
    with pytest.raises(NotReady, match="a protocol compatible with Inference Graphs"):
        find_url(ready, {"g": {"spec": {"protocolVersions": ["grpc-v2"]}}}.get)
