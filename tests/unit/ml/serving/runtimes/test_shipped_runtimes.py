"""The runtimes that every cluster has: what they serve, and that they are made once and renewed."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.unit.ml.serving.spec.services import make_model

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Object, User
from proa.ml.area import ensure_definitions
from proa.ml.serving.component import DEFINITIONS as FILES
from proa.ml.serving.kinds import CLUSTER_SERVING_RUNTIMES, CONFIG_MAP, NAMESPACE
from proa.ml.serving.revisions.merging import merge_component
from proa.ml.serving.routing.config import make_default_config, read_ingress_config
from proa.ml.serving.runtimes.installation import install
from proa.ml.serving.runtimes.shipped import SERVER, make_runtimes
from proa.ml.serving.server.formats.loading import FORMATS
from proa.ml.serving.server.options import read_options
from proa.ml.serving.spec.defaults import with_defaults
from proa.ml.serving.spec.runtime_defaults import with_runtime
from proa.ml.serving.spec.selection import NotServed, select_runtime
from proa.objects import meta
from proa.objects.resource import CONFIG_MAPS
from proa.store.memory import MemoryStore

IMAGE = "proa.local/python"


def serve(model: Object, name: str = "iris") -> tuple[str, str, list[str]]:
    """Return the runtime's name, the protocol, and the server's arguments."""
    metadata = {"name": name, "namespace": "default"}
    isvc = with_defaults({"metadata": metadata, "spec": {"predictor": {"model": model}}})
    selected = select_runtime(isvc["spec"]["predictor"], [], make_runtimes(IMAGE))
    isvc = with_runtime(isvc, selected)
    container = merge_component(isvc, "predictor", selected.runtime).spec["containers"][0]
    assert container["command"] == ["python3", "-m", SERVER]
    protocol = isvc["spec"]["predictor"]["model"]["protocolVersion"]
    return meta.name(selected.runtime), protocol, container["args"]


@pytest.mark.parametrize(
    ("model_format", "said", "runtime", "protocol"),
    [
        ("sklearn", "", "kserve-sklearnserver", "v1"),
        ("sklearn", "v2", "kserve-mlserver", "v2"),
        ("sklearn", "grpc-v2", "kserve-mlserver", "grpc-v2"),
        ("xgboost", "", "kserve-xgbserver", "v1"),
        ("xgboost", "v2", "kserve-mlserver", "v2"),
        ("lightgbm", "", "kserve-lgbserver", "v1"),
        ("mlflow", "", "proa-mlflowserver", "v1"),
        ("mlflow", "v2", "kserve-mlserver", "v2"),
        ("onnx", "", "kserve-onnxserver", "v1"),
        ("onnx", "grpc-v2", "kserve-onnxserver", "grpc-v2"),
        ("pytorch", "", "kserve-pytorchserver", "v1"),
        ("huggingface", "", "kserve-huggingfaceserver", "v1"),
        ("custom", "", "proa-pythonserver", "v1"),
        ("fastapi", "", "proa-pythonserver", "v1"),
    ],
)
def test_a_format_is_served_by(model_format: str, said: str, runtime: str, protocol: str) -> None:
    model = make_model(model_format, **({"protocolVersion": said} if said else {}))
    name, chosen, arguments = serve(model)
    assert (name, chosen) == (runtime, protocol)
    options = read_options(arguments)
    assert (options.model_name, options.format, options.settings) == ("iris", model_format, {})
    assert (str(options.model_dir), options.http_port) == ("/mnt/models", 8080)


def test_every_format_of_the_server_has_a_runtime_and_no_runtime_another() -> None:
    formats = {
        one["name"] for runtime in make_runtimes(IMAGE) for one in runtime["spec"]["supportedModelFormats"]
    }
    assert formats == set(FORMATS)


@pytest.mark.parametrize("name", ["tensorflow", "triton", "pmml", "paddle", "tensorrt"])
def test_what_our_server_cannot_do_is_told_and_not_begun(name: str) -> None:
    with pytest.raises(
        NotServed, match=f"model type: {name}; runtimes are there for custom, fastapi, huggingface"
    ):
        serve(make_model(name, protocolVersion="v2"))


def test_one_that_is_named_is_told_the_models_format() -> None:
    name, _, arguments = serve(make_model("lightgbm", runtime="kserve-predictiveserver"))
    assert name == "kserve-predictiveserver"
    assert "--format=lightgbm" in arguments


class Cluster:
    """An API server that knows the kinds of serving."""

    def __init__(self) -> None:
        server = ApiServer(MemoryStore(), DEFINITIONS)
        self.client = ApiClient(LocalTransport(server.handle, User("admin", ("system:masters",))))

    async def names(self) -> list[str]:
        return [meta.name(one) for one in (await self.client.list(CLUSTER_SERVING_RUNTIMES)).items]

    async def get(self, name: str) -> Object:
        return await self.client.get(CLUSTER_SERVING_RUNTIMES, name)


def test_they_are_made_once_and_renewed_and_what_is_anothers_stays() -> None:
    cluster = Cluster()
    client = cluster.client

    async def story() -> None:
        await ensure_definitions(client, FILES)
        theirs = make_runtimes("theirs")[0]
        theirs["metadata"]["labels"] = {}
        await client.create(CLUSTER_SERVING_RUNTIMES, theirs)
        await install(client, IMAGE, make_default_config())
        assert await cluster.names() == sorted(map(meta.name, make_runtimes(IMAGE)))
        config = await client.get(CONFIG_MAPS, CONFIG_MAP, NAMESPACE)
        assert read_ingress_config(config["data"]["ingress"]).domain == "proa.localhost"
        assert all(isinstance(orjson.loads(section), dict) for section in config["data"].values())

        await client.delete(CLUSTER_SERVING_RUNTIMES, "kserve-mlserver")
        await client.update(CONFIG_MAPS, {**config, "data": {"deploy": "{}"}})
        await install(client, IMAGE, make_default_config())
        assert "kserve-mlserver" not in await cluster.names(), "what was taken away stays away"

        await install(client, "newer", make_default_config())
        images = {
            meta.name(one): one["spec"]["containers"][0]["image"]
            for one in (await client.list(CLUSTER_SERVING_RUNTIMES)).items
        }
        assert images.pop(meta.name(theirs)) == "theirs"
        assert set(images.values()) == {"newer"}
        assert "kserve-mlserver" in images
        assert (await client.get(CONFIG_MAPS, CONFIG_MAP, NAMESPACE))["data"] == {"deploy": "{}"}

    asyncio.run(story())
