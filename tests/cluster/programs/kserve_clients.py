"""What KServe's own clients and data models make of a model server: `kserve_clients.py HTTP_PORT GRPC_PORT OUTPUT`.

Run by an interpreter that has the SDK; writes what it saw as JSON.
"""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy
from grpc.aio import AioRpcError
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.constants.constants import PredictorProtocol
from kserve.protocol.rest import v2_datamodels as models

HTTP, GRPC = (int(text) for text in sys.argv[1:3])
URL = f"http://127.0.0.1:{HTTP}"
ROWS = numpy.arange(128, dtype=numpy.float32).reshape(2, 64) % 16


def make_request(*, is_binary: bool) -> InferRequest:
    found = InferInput(name="X", shape=[2, 64], datatype="FP32")
    found.set_data_from_numpy(ROWS, binary_data=is_binary)
    parameters = {"binary_data_output": True} if is_binary else None
    return InferRequest(model_name="m", infer_inputs=[found], request_id="7", parameters=parameters)


async def ask_by_rest() -> dict:
    v1 = InferenceRESTClient(RESTConfig(protocol=PredictorProtocol.REST_V1.value))
    v2 = InferenceRESTClient(RESTConfig(protocol=PredictorProtocol.REST_V2.value))
    answers = {}
    answers["v1"] = (await v1.infer(URL, {"instances": ROWS.tolist()}, model_name="m"))["predictions"]
    for name, is_binary in (("v2", False), ("binary", True)):
        answer = await v2.infer(URL, make_request(is_binary=is_binary), model_name="m")
        answers[name] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        answers[f"{name} id"] = answer.id
    answers["ready"] = [
        await v2.is_server_live(URL),
        await v2.is_server_ready(URL),
        await v2.is_model_ready(URL, "m"),
        await v1.is_server_live(URL),
        await v1.is_model_ready(URL, "m"),
    ]
    await v1.close()
    await v2.close()
    return answers


async def ask_by_grpc() -> dict:
    answers = {}
    async with InferenceGRPCClient(f"127.0.0.1:{GRPC}") as client:
        for name, is_binary in (("typed", False), ("raw", True)):
            answer = await client.infer(make_request(is_binary=is_binary))
            answers[name] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        answers["ready"] = [
            await client.is_server_live(),
            await client.is_server_ready(),
            await client.is_model_ready("m"),
        ]
        try:
            await client.infer(
                InferRequest(model_name="other", infer_inputs=make_request(is_binary=True).inputs)
            )
        except AioRpcError as error:
            answers["refused"] = [error.code().name, error.details()]
    return answers


def get(path: str, body: object = None) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def check_schemas() -> list[str]:
    """Have KServe's data models read each answer; raise what they say of one that is none."""
    read = {
        "/v2": models.ServerMetadataResponse,
        "/v2/health/live": models.ServerLiveResponse,
        "/v2/health/ready": models.ServerReadyResponse,
        "/v2/models": models.ListModelsResponse,
        "/v2/models/m": models.ModelMetadataResponse,
        "/v2/models/m/ready": models.ModelReadyResponse,
    }
    for path, model in read.items():
        model.model_validate(get(path)[1], strict=True)
    tensor = {"name": "X", "shape": [2, 64], "datatype": "FP32", "data": ROWS.ravel().tolist()}
    models.InferenceResponse.model_validate(get("/v2/models/m/infer", {"inputs": [tensor]})[1], strict=True)
    return [*read, "/v2/models/m/infer"]


async def main() -> None:
    answers = {"rest": await ask_by_rest(), "grpc": await ask_by_grpc(), "schemas": check_schemas()}
    answers["errors"] = [
        get("/v1/models/other:predict", {"instances": []}),
        get("/v1/models/m:predict", {"instances": 1}),
    ]
    Path(sys.argv[3]).write_text(json.dumps(answers))


asyncio.run(main())
