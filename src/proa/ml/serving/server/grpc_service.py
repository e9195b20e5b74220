"""inference.GRPCInferenceService: V2 over gRPC, by the same models and the same limits as over HTTP.

Source: python/kserve/kserve/protocol/grpc/servicer.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from proa.ml.grpc.status import CallFailed
from proa.ml.serving.server.app import App, model_metadata, server_metadata
from proa.ml.serving.server.gate import Gate
from proa.ml.serving.server.inference import ask_payload, make_id, to_refusal
from proa.ml.serving.wire import grpc_messages, v2
from proa.ml.serving.wire.grpc_messages import SERVICE
from proa.ml.serving.wire.refusals import Refused

if TYPE_CHECKING:
    from proa.ml.grpc.codec import Message
    from proa.ml.grpc.connection import Caller
    from proa.ml.serving.server.repository import Repository, Served
    from proa.ml.serving.wire.tensors import Arrays


class InferenceService:
    """The methods of the service, by their paths in `methods`."""

    def __init__(self, repository: Repository, gate: Gate, app: App) -> None:
        self._repository = repository
        self._gate = gate
        self._app = app
        self.methods = {
            f"/{SERVICE}/{name}": _telling(method)
            for name, method in (
                ("ServerLive", self._server_live),
                ("ServerReady", self._server_ready),
                ("ModelReady", self._model_ready),
                ("ServerMetadata", self._server_metadata),
                ("ModelMetadata", self._model_metadata),
                ("ModelInfer", self._infer),
                ("RepositoryModelLoad", self._load),
                ("RepositoryModelUnload", self._unload),
            )
        }

    async def _server_live(self, request: Message) -> Message:
        return {"live": True}

    async def _server_ready(self, request: Message) -> Message:
        return {"ready": self._app.is_ready}

    async def _model_ready(self, request: Message) -> Message:
        place = self._repository.find_place(request["name"])
        if request["version"]:
            self._repository.find(request["name"], request["version"])
        return {"ready": place.served is not None}

    async def _server_metadata(self, request: Message) -> Message:
        return server_metadata()

    async def _model_metadata(self, request: Message) -> Message:
        return model_metadata(self._repository.find(request["name"], request["version"]))

    async def _load(self, request: Message) -> Message:
        await self._repository.load(request["model_name"])
        return {"model_name": request["model_name"], "isLoaded": True}

    async def _unload(self, request: Message) -> Message:
        await self._repository.unload(request["model_name"])
        return {"model_name": request["model_name"], "isUnloaded": True}

    async def _infer(self, message: Message) -> Message:
        served = self._repository.find(message["model_name"], message["model_version"])
        await self._gate.hold()
        try:
            return await _ask(served, message)
        finally:
            self._gate.release()


async def _ask(served: Served, message: Message) -> Message:
    began = time.perf_counter()
    request = grpc_messages.read_request(message)
    if not request.id:
        request = request._replace(id=make_id())
    served.measures.preprocess(time.perf_counter() - began)
    if served.batcher is not None:
        outputs = await _submit(served, request.inputs)
    else:
        outputs = await _ask_class(served, message, request)
    began = time.perf_counter()
    answer = grpc_messages.write_response(served.name, served.version, outputs, request)
    served.measures.postprocess(time.perf_counter() - began)
    return answer


async def _submit(served: Served, inputs: Arrays) -> Arrays:
    answered: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

    def finish(outputs: Arrays | None, error: Exception | None) -> None:
        if answered.done():
            return  # the client has gone
        if outputs is None:
            answered.set_exception(error or Refused(500, "the model has not answered"))
        else:
            answered.set_result(outputs)

    assert served.batcher is not None
    served.batcher.submit(inputs, finish)
    return await answered


async def _ask_class(served: Served, message: Message, request: v2.InferRequest) -> Arrays:
    """Ask a custom class as over REST; its answer must be V2's JSON."""
    if not hasattr(served.model, "predict"):
        raise Refused(501, f"Model with name {served.name} is not asked by gRPC")
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": tensor["datatype"]}
        for (name, array), tensor in zip(request.inputs.items(), message["inputs"], strict=True)
    ]
    document: dict[str, Any] = {"id": request.id, "inputs": inputs, "parameters": request.parameters}
    answer = await ask_payload(served, v2.write_document(document, request.inputs), {})
    if not isinstance(answer, dict) or "outputs" not in answer:
        raise Refused(500, "the model's answer has no outputs: by gRPC it must be V2's")
    try:
        return v2.read_document({"inputs": answer["outputs"]}).inputs
    except Refused as error:
        raise Refused(500, f"the model's answer is not V2's: {error}") from None


def _telling(
    method: Callable[[Message], Awaitable[Message]],
) -> Callable[[Message, Caller], Awaitable[Message]]:
    """Return a method whose errors are gRPC's."""

    async def call(message: Message, caller: Caller) -> Message:
        try:
            return await method(message)
        except Exception as error:
            refused = to_refusal(error)
            raise CallFailed(refused.code, refused.message) from None

    return call
