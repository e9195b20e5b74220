"""InferenceServices reconciled over an API in memory, where deployments, nodes and the gateway do as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.ml.grpc.door import Door
from proa.ml.serving.kinds import CLUSTER_SERVING_RUNTIMES, INFERENCE_SERVICES, REVISION_LABEL
from proa.ml.serving.operator.operator import make_controllers
from proa.ml.serving.routing.parts import GATEWAYS, HTTP_ROUTES
from proa.ml.serving.settings import ServingSettings
from proa.objects import meta
from proa.objects.errors import BadRequest
from proa.objects.resource import (
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    INGRESSES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from proa.reconcile.manager import Manager
from proa.reconcile.protocol import Key

NOW = 1_750_000_000.0
MODEL = {"modelFormat": {"name": "sklearn"}, "storageUri": "pvc://claim/model"}
RUNTIME = {
    "metadata": {"name": "sk"},
    "spec": {
        "supportedModelFormats": [{"name": "sklearn", "version": "1", "autoSelect": True}],
        "containers": [
            {
                "name": "kserve-container",
                "image": "proa",
                "command": ["python", "-m", "proa.ml.serving.server"],
                "args": ["--model_name={{.Name}}"],
            }
        ],
    },
}


class World:
    """A cluster in which everything but the operator is played by the test."""

    def __init__(self, way: Literal["gateway", "ingress"]) -> None:
        self.client = FakeClient(now=lambda: NOW)
        self.client.add(NAMESPACES, {"metadata": {"name": "kserve"}})
        self.client.add(NAMESPACES, {"metadata": {"name": "ml"}})
        self.manager = Manager(
            self.client,
            make_controllers(ServingSettings(Door(), gateway_class="proa", way=way)),
            now=lambda: NOW,
            random=lambda: 0.5,
        )

    async def apply(self, name: str = "iris", *, annotations: Any = None, **predictor: Any) -> None:
        spec = {"predictor": {"model": MODEL, **predictor}}
        await self.apply_spec(name, spec, annotations)

    async def apply_spec(self, name: str, spec: Object, annotations: Any = None) -> None:
        found = self.client.peek(INFERENCE_SERVICES, name, "ml")
        metadata = {"name": name, "namespace": "ml", "annotations": annotations or {}}
        if found is None:
            await self.client.create(INFERENCE_SERVICES, {"metadata": metadata, "spec": spec}, "ml")
        else:
            metadata = {**found["metadata"], "annotations": annotations or {}}
            await self.client.update(INFERENCE_SERVICES, {**found, "metadata": metadata, "spec": spec})
        await self.settle()

    async def settle(self) -> None:
        quiet = 0
        async with asyncio.timeout(60):
            while quiet < 30:
                await asyncio.sleep(0)
                quiet = quiet + 1 if self.manager.is_idle() else 0

    async def accept_routes(self) -> None:
        """Have the gateway carry out all routes, as it does."""
        for gateway in self.client.all(GATEWAYS):
            self.client.add(GATEWAYS, {**gateway, "status": _told(gateway, "Accepted", "Programmed")})
        for route in self.client.all(HTTP_ROUTES):
            reference = {"namespace": "kserve", "name": "kserve-ingress-gateway"}
            parent = {"parentRef": reference, **_told(route, "Accepted", "ResolvedRefs")}
            self.client.add(HTTP_ROUTES, {**route, "status": {"parents": [parent]}})
        await self.settle()

    async def run_pod(self, deployment: str, status: Object | None = None, suffix: str = "x") -> None:
        """Have a Deployment's pod be ready, or as `status` says."""
        found = self.client.peek(DEPLOYMENTS, deployment, "ml")
        assert found is not None
        template = found["spec"]["template"]
        conditions = [{"type": "Ready", "status": "True"}]
        metadata = {**template["metadata"], "name": f"{deployment}-{suffix}", "namespace": "ml"}
        pod = {"metadata": metadata, "spec": template["spec"]}
        self.client.add(PODS, {**pod, "status": status or {"phase": "Running", "conditions": conditions}})
        if status is None:
            available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
            told = {"availableReplicas": 1, "readyReplicas": 1, "conditions": [available]}
            self.client.add(DEPLOYMENTS, {**found, "status": told})
        await self.settle()

    async def serve(self, deployment: str) -> None:
        """Have a Deployment's pod be ready, and the gateway lead to it."""
        await self.run_pod(deployment)
        await self.accept_routes()

    def status(self, name: str = "iris") -> Object:
        found = self.client.peek(INFERENCE_SERVICES, name, "ml")
        return (found or {}).get("status") or {}

    def conditions(self, name: str = "iris") -> dict[str, tuple[str, str]]:
        return {
            one["type"]: (one["status"], one.get("reason", "")) for one in self.status(name)["conditions"]
        }

    def names(self, resource: Resource) -> list[str]:
        return sorted(meta.name(one) for one in self.client.all(resource))

    def weights(self, route: str) -> dict[str, int]:
        found = self.client.peek(HTTP_ROUTES, route, "ml")
        assert found is not None
        return {one["name"]: one["weight"] for one in found["spec"]["rules"][-1]["backendRefs"]}

    def versions(self) -> list[str]:
        kinds = (INFERENCE_SERVICES, DEPLOYMENTS, SERVICES, HTTP_ROUTES, HORIZONTAL_POD_AUTOSCALERS)
        return [meta.resource_version(one) for kind in kinds for one in self.client.all(kind)]


def _told(obj: Object, *types: str) -> Object:
    generation = meta.generation(obj)
    return {
        "conditions": [{"type": type, "status": "True", "observedGeneration": generation} for type in types]
    }


@asynccontextmanager
async def running(
    *, with_runtime: bool = True, way: Literal["gateway", "ingress"] = "gateway"
) -> AsyncIterator[World]:
    world = World(way)
    if with_runtime:
        world.client.add(CLUSTER_SERVING_RUNTIMES, RUNTIME)
    await world.manager.start()
    try:
        yield world
    finally:
        await world.manager.stop()


FIRST, SECOND, THIRD = (f"iris-predictor-0000{n}" for n in (1, 2, 3))
FAILED = {
    "phase": "Running",
    "containerStatuses": [
        {
            "name": "kserve-container",
            "ready": False,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no model.joblib"}},
        }
    ],
}


def test_a_model_becomes_a_revision_that_is_ready_and_reached():
    async def run() -> None:
        async with running() as world:
            await world.apply(minReplicas=1)
            assert world.names(DEPLOYMENTS) == [f"{FIRST}-deployment"]
            assert world.names(SERVICES) == ["iris", "iris-predictor", FIRST]
            assert world.conditions()["Ready"] == ("Unknown", "")
            assert world.status()["modelStatus"]["transitionStatus"] == "InProgress"

            await world.serve(f"{FIRST}-deployment")

            status = world.status()
            assert status["url"] == "http://iris.ml.proa.localhost"
            assert status["address"] == {"url": "http://iris.ml.svc.cluster.local"}
            assert status["clusterServingRuntimeName"] == "sk"
            assert status["components"]["predictor"] == {
                "latestCreatedRevision": FIRST,
                "latestReadyRevision": FIRST,
                "latestRolledoutRevision": FIRST,
                "traffic": [{"latestRevision": True, "percent": 100, "revisionName": FIRST}],
                "url": "http://iris-predictor.ml.proa.localhost",
                "address": {"url": "http://iris-predictor.ml.svc.cluster.local"},
            }
            assert {type: told for type, (told, _) in world.conditions().items()} == {
                "IngressReady": "True",
                "LatestDeploymentReady": "True",
                "PredictorConfigurationReady": "True",
                "PredictorReady": "True",
                "PredictorRouteReady": "True",
                "Ready": "True",
                "RoutesReady": "True",
                "Stopped": "False",
            }
            assert status["modelStatus"]["states"] == {
                "activeModelState": "Loaded",
                "targetModelState": "Loaded",
            }

    asyncio.run(run())


def test_a_reconcile_of_what_is_as_wanted_writes_nothing():
    async def run() -> None:
        async with running() as world:
            await world.apply()
            await world.apply("other", annotations={"serving.kserve.io/deploymentMode": "Standard"})
            await world.run_pod("other-predictor")
            await world.serve(f"{FIRST}-deployment")
            before = world.versions()

            for runner in world.manager._runners:
                for one in world.client.all(INFERENCE_SERVICES):
                    runner.queue.add(Key("ml", meta.name(one)))
            await world.settle()

            assert world.versions() == before

    asyncio.run(run())


def test_limits_of_replicas_are_told_to_scaling_and_make_no_revision():
    async def run() -> None:
        async with running() as world:
            await world.apply(minReplicas=1)
            await world.serve(f"{FIRST}-deployment")

            await world.apply(minReplicas=0, maxReplicas=7)

            assert world.names(DEPLOYMENTS) == [f"{FIRST}-deployment"]
            told = meta.annotations(world.client.all(DEPLOYMENTS)[0])
            assert (told["autoscaling.knative.dev/min-scale"], told["autoscaling.knative.dev/max-scale"]) == (
                "0",
                "7",
            )

    asyncio.run(run())


def test_what_a_revisions_pods_were_made_with_stays_told_of_it():
    async def run() -> None:
        async with running() as world:
            await world.apply(containerConcurrency=4)
            await world.serve(f"{FIRST}-deployment")

            await world.apply(containerConcurrency=9, minReplicas=2)

            told = {
                meta.name(one): meta.annotations(one)["proa.local/container-concurrency"]
                for one in world.client.all(DEPLOYMENTS)
            }
            assert told == {f"{FIRST}-deployment": "4", f"{SECOND}-deployment": "9"}

    asyncio.run(run())


def test_a_canary_gets_its_part_when_it_is_ready_and_all_when_it_is_promoted():
    async def run() -> None:
        async with running() as world:
            await world.apply()
            await world.serve(f"{FIRST}-deployment")

            await world.apply(canaryTrafficPercent=10, timeout=30)
            assert world.weights("iris-predictor") == {FIRST: 100}

            await world.serve(f"{SECOND}-deployment")
            assert world.weights("iris") == {SECOND: 10, FIRST: 90}
            assert world.status()["components"]["predictor"]["latestRolledoutRevision"] == FIRST

            await world.apply(timeout=30)
            await world.accept_routes()
            assert world.weights("iris") == {SECOND: 100}
            told = world.status()["components"]["predictor"]
            assert (told["latestRolledoutRevision"], told["previousRolledoutRevision"]) == (SECOND, FIRST)

            await world.apply(canaryTrafficPercent=0, timeout=30)
            assert world.weights("iris") == {FIRST: 100}

    asyncio.run(run())


def test_a_roll_out_that_fails_leaves_the_last_one_serving_and_says_why():
    async def run() -> None:
        async with running() as world:
            await world.apply()
            await world.serve(f"{FIRST}-deployment")

            await world.apply(timeout=30)
            await world.run_pod(f"{SECOND}-deployment", FAILED)

            assert world.weights("iris") == {FIRST: 100}
            assert world.conditions()["PredictorReady"] == ("False", "RevisionFailed")
            model = world.status()["modelStatus"]
            assert model["transitionStatus"] == "BlockedByFailedLoad"
            assert model["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
            assert model["lastFailureInfo"]["message"] == "no model.joblib"
            assert model["lastFailureInfo"]["exitCode"] == 1

            await world.apply(timeout=40)
            await world.serve(f"{THIRD}-deployment")
            assert world.weights("iris") == {THIRD: 100}
            assert world.conditions()["Ready"] == ("True", "")
            assert world.names(DEPLOYMENTS) == [f"{FIRST}-deployment", f"{THIRD}-deployment"]

    asyncio.run(run())


def test_nobody_waits_for_a_first_revision_that_failed_until_it_is_ready():
    async def run() -> None:
        async with running() as world:
            await world.apply()
            assert world.weights("iris") == {FIRST: 100}

            await world.run_pod(f"{FIRST}-deployment", FAILED)

            assert world.names(HTTP_ROUTES) == []
            assert world.conditions()["PredictorReady"] == ("False", "RevisionFailed")

            await world.serve(f"{FIRST}-deployment")
            assert world.weights("iris") == {FIRST: 100}
            assert world.conditions()["Ready"] == ("True", "")

    asyncio.run(run())


def test_what_is_over_stays_until_the_gateway_leads_elsewhere():
    async def run() -> None:
        async with running() as world:
            await world.apply()
            await world.serve(f"{FIRST}-deployment")
            await world.apply(timeout=30)
            await world.serve(f"{SECOND}-deployment")
            await world.apply(timeout=40)
            for route in world.client.all(HTTP_ROUTES):
                world.client.add(HTTP_ROUTES, {**route, "status": {"parents": []}})

            await world.run_pod(f"{THIRD}-deployment")
            assert world.weights("iris") == {THIRD: 100}
            assert FIRST in world.names(SERVICES)
            assert f"{FIRST}-deployment" in world.names(DEPLOYMENTS)

            await world.accept_routes()
            assert FIRST not in world.names(SERVICES)
            assert f"{FIRST}-deployment" not in world.names(DEPLOYMENTS)

    asyncio.run(run())


def test_a_runtime_that_changes_rolls_out_unless_the_service_is_to_stay_as_it_is():
    async def run() -> None:
        frozen = {"serving.kserve.io/disable-auto-update": "true"}
        async with running() as world:
            await world.apply("frozen", annotations=frozen)
            await world.apply()
            await world.run_pod("frozen-predictor-00001-deployment")
            await world.serve(f"{FIRST}-deployment")

            container = {**RUNTIME["spec"]["containers"][0], "image": "proa:2"}
            changed = {**RUNTIME, "spec": {**RUNTIME["spec"], "containers": [container]}}
            world.client.add(
                CLUSTER_SERVING_RUNTIMES, {**changed, "metadata": {"name": "sk", "generation": 2}}
            )
            await world.settle()

            made = ["frozen-predictor-00001-deployment", f"{FIRST}-deployment", f"{SECOND}-deployment"]
            assert world.names(DEPLOYMENTS) == made

    asyncio.run(run())


def test_what_is_stopped_runs_no_more_until_it_is_wanted_again():
    async def run() -> None:
        async with running() as world:
            await world.apply()
            await world.serve(f"{FIRST}-deployment")

            await world.apply(annotations={"serving.kserve.io/stop": "true"})

            assert not world.names(DEPLOYMENTS) + world.names(SERVICES) + world.names(HTTP_ROUTES)
            assert world.conditions() == {
                "IngressReady": ("False", "Stopped"),
                "PredictorReady": ("False", "Stopped"),
                "Ready": ("False", "Stopped"),
                "Stopped": ("True", ""),
            }
            assert "url" not in world.status()

            await world.apply()
            assert world.names(DEPLOYMENTS) == [f"{FIRST}-deployment"]

    asyncio.run(run())


def test_a_model_without_a_runtime_says_so_and_is_made_once_there_is_one():
    async def run() -> None:
        async with running(with_runtime=False) as world:
            await world.apply()

            assert world.conditions()["PredictorReady"] == ("False", "NoSupportingRuntime")
            assert world.status()["modelStatus"]["transitionStatus"] == "InvalidSpec"
            assert world.names(DEPLOYMENTS) == []

            world.client.add(CLUSTER_SERVING_RUNTIMES, RUNTIME)
            await world.settle()
            assert world.names(DEPLOYMENTS) == [f"{FIRST}-deployment"]

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["Knative", "Standard"])
def test_a_deployment_that_the_api_server_cannot_read_is_told_of(mode: str):
    """A number where a text belongs, in a field of pods that the definition leaves to them."""

    async def run() -> None:
        async with running() as world:
            words = "cannot unmarshal number into Go struct field EnvVar.value of type string"
            for _ in range(9):
                world.client.fail_next(BadRequest(words), "create", DEPLOYMENTS)

            await world.apply(annotations={"serving.kserve.io/deploymentMode": mode})

            condition = meta.find_condition({"status": world.status()}, "PredictorReady")
            assert condition is not None
            assert condition["status"] == "False"
            assert "EnvVar.value of type string" in condition["message"]

    asyncio.run(run())


def test_what_is_somebody_elses_is_left_alone_and_named():
    async def run() -> None:
        async with running() as world:
            other = {"metadata": {"name": "iris", "namespace": "ml"}, "spec": {"type": "ClusterIP"}}
            world.client.add(SERVICES, other)

            await world.apply()

            condition = meta.find_condition({"status": world.status()}, "PredictorReady")
            assert condition is not None
            assert condition["reason"] == "NotOwned"
            assert 'existing Service "iris"' in condition["message"]

    asyncio.run(run())


def test_standard_mode_has_a_deployment_an_hpa_and_canaries_beside_it():
    async def run() -> None:
        standard = {"serving.kserve.io/deploymentMode": "RawDeployment"}
        async with running() as world:
            canary = {"trafficPercent": 25, "predictor": {"name": "blue", "timeout": 9}}
            spec = {"predictor": {"model": MODEL, "minReplicas": 4}, "canary": [canary]}
            await world.apply_spec("iris", spec, standard)
            assert world.names(DEPLOYMENTS) == ["iris-blue-predictor", "iris-predictor"]
            assert world.names(HORIZONTAL_POD_AUTOSCALERS) == ["iris-predictor"]
            assert world.weights("iris") == {"iris-predictor": 100}

            await world.serve("iris-predictor")
            assert world.status()["deploymentMode"] == "Standard"
            assert world.conditions()["Ready"][0] == "True"
            assert world.conditions()["CanaryPredictorReady"] == ("False", "CanariesNotReady")

            await world.serve("iris-blue-predictor")
            assert world.weights("iris") == {"iris-predictor": 75, "iris-blue-predictor": 25}
            assert world.client.all(HORIZONTAL_POD_AUTOSCALERS)[0]["spec"]["minReplicas"] == 3
            told = world.status()["canaryStatuses"][0]
            assert (told["name"], told["ready"], told["trafficPercent"]) == ("blue", True, 25)

            generation = meta.generation(world.client.peek(DEPLOYMENTS, "iris-blue-predictor", "ml") or {})
            promoted = {"predictor": {"model": MODEL, "name": "blue", "minReplicas": 4, "timeout": 9}}
            await world.apply_spec("iris", promoted, standard)
            assert world.names(DEPLOYMENTS) == ["iris-blue-predictor"]
            found = world.client.peek(DEPLOYMENTS, "iris-blue-predictor", "ml") or {}
            assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
            assert meta.generation(found) == generation

    asyncio.run(run())


def test_a_predictor_of_another_name_takes_the_place_of_one_once_it_is_ready():
    async def run() -> None:
        standard = {"serving.kserve.io/deploymentMode": "Standard"}
        async with running() as world:
            await world.apply(annotations=standard)
            await world.serve("iris-predictor")

            renamed = {"predictor": {"model": MODEL, "name": "blue", "timeout": 9}}
            await world.apply_spec("iris", renamed, standard)
            assert world.names(DEPLOYMENTS) == ["iris-blue-predictor", "iris-predictor"]
            assert world.weights("iris") == {"iris-predictor": 100}

            await world.serve("iris-blue-predictor")
            assert world.weights("iris") == {"iris-blue-predictor": 100}
            await world.accept_routes()
            assert world.names(DEPLOYMENTS) == ["iris-blue-predictor"]

    asyncio.run(run())


def test_a_roll_out_that_fails_in_standard_mode_is_told_while_the_last_one_serves():
    async def run() -> None:
        standard = {"serving.kserve.io/deploymentMode": "Standard"}
        async with running() as world:
            await world.apply(annotations=standard)
            await world.serve("iris-predictor")
            assert world.status()["modelStatus"]["transitionStatus"] == "UpToDate"

            await world.apply(annotations=standard, timeout=50)
            await world.run_pod("iris-predictor", FAILED, "y")

            assert world.conditions()["Ready"][0] == "True"
            model = world.status()["modelStatus"]
            assert model["transitionStatus"] == "BlockedByFailedLoad"
            assert model["lastFailureInfo"]["message"] == "no model.joblib"
            template = world.client.all(DEPLOYMENTS)[0]["spec"]["template"]
            assert template["spec"]["terminationGracePeriodSeconds"] == 50

    asyncio.run(run())


def test_a_transformer_that_is_added_gets_requests_once_it_is_ready():
    async def run() -> None:
        transformer = {"containers": [{"name": "t", "image": "t"}]}
        for mode, predictor, added in (
            ("Knative", FIRST, "iris-transformer-00001"),
            ("Standard", "iris-predictor", "iris-transformer"),
        ):
            suffix = "-deployment" if mode == "Knative" else ""
            annotations = {"serving.kserve.io/deploymentMode": mode}
            async with running() as world:
                await world.apply_spec("iris", {"predictor": {"model": MODEL}}, annotations)
                await world.serve(f"{predictor}{suffix}")

                spec = {"predictor": {"model": MODEL}, "transformer": transformer}
                await world.apply_spec("iris", spec, annotations)
                assert world.weights("iris") == {predictor: 100}

                await world.serve(f"{added}{suffix}")
                await world.accept_routes()
                assert world.weights("iris") == {added: 100}
                assert world.conditions()["Ready"][0] == "True"

    asyncio.run(run())


def test_where_there_is_no_gateway_an_ingress_leads_to_the_revision():
    async def run() -> None:
        async with running(way="ingress") as world:
            await world.apply()
            await world.run_pod(f"{FIRST}-deployment")

            assert world.conditions()["Ready"] == ("True", "")
            assert world.names(INGRESSES) == ["iris"]
            assert world.names(SERVICES) == ["iris", "iris-predictor", FIRST]
            service = world.client.peek(SERVICES, "iris", "ml") or {}
            assert service["spec"]["selector"] == {REVISION_LABEL: FIRST}
            assert world.client.all(GATEWAYS) == []

    asyncio.run(run())


def test_a_revisions_pods_are_found_by_its_name():
    async def run() -> None:
        async with running() as world:
            await world.apply()
            deployment = world.client.all(DEPLOYMENTS)[0]
            assert deployment["spec"]["selector"]["matchLabels"] == {REVISION_LABEL: FIRST}
            assert deployment["spec"]["template"]["metadata"]["labels"][REVISION_LABEL] == FIRST

    asyncio.run(run())


def test_who_logs_to_a_store_is_let_in_by_the_loggers_account():
    async def run() -> None:
        async with running() as world:
            secret = {
                "metadata": {"name": "keys", "namespace": "ml"},
                "data": {"AWS_SECRET_ACCESS_KEY": "cw=="},
            }
            world.client.add(SECRETS, secret)
            account = {"metadata": {"name": "logger-sa", "namespace": "ml"}, "secrets": [{"name": "keys"}]}
            world.client.add(SERVICE_ACCOUNTS, account)
            logger = {"url": "s3://payloads/log", "storage": {"path": "p"}}
            predictor = {"containers": [{"image": "mine"}], "logger": logger}
            await world.apply_spec("iris", {"predictor": predictor})

            deployment = world.client.peek(DEPLOYMENTS, "iris-predictor-00001-deployment", "ml")
            assert deployment is not None
            main, agent = deployment["spec"]["template"]["spec"]["containers"]
            named = {"name": "keys", "key": "AWS_SECRET_ACCESS_KEY"}
            assert {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": named}} in agent["env"]
            assert "--log-store-path" in agent["args"]
            assert [one["name"] for one in main["env"]] == ["INFERENCE_SERVICE_NAME"]

    asyncio.run(run())
