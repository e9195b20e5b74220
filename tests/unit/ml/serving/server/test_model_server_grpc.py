"""The model server over gRPC, asked by grpcio with protobuf's own messages."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import grpc
import numpy
import pytest

from proa.ml.serving.wire.grpc_messages import OPEN_INFERENCE, SERVICE
from support.model_server import Doubler, Running, serve

Ask = Callable[..., Awaitable[dict]]


def ask_by_grpc(body: Callable[[Ask, Running], Awaitable[None]], models: object, **options: object) -> None:
    """Run a test's body with what calls a method by its name."""

    async def go(running: Running) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.ports.grpc}") as channel:

            async def ask(name: str, /, **message: object) -> dict:
                request, reply = OPEN_INFERENCE.methods[f"/{SERVICE}/{name}"]
                codec = OPEN_INFERENCE.codec
                method = channel.unary_unary(
                    f"/{SERVICE}/{name}",
                    request_serializer=lambda found: codec.encode(request, found),
                    response_deserializer=lambda data: codec.decode(reply, data),
                )
                return await method(message)

            await body(ask, running)

    serve(go, models, **options)


def make_tensor(datatype: str, shape: list[int], **contents: object) -> dict:
    found = {"name": "x", "datatype": datatype, "shape": shape}
    return {**found, "contents": contents} if contents else found


def test_server_and_model_tell_of_themselves():
    async def body(ask: Ask, running: Running) -> None:
        assert await ask("ServerLive") == {"live": True}
        assert await ask("ServerReady") == {"ready": True}
        assert await ask("ModelReady", name="m") == {"ready": True}
        assert (await ask("ServerMetadata"))["name"] == "kserve"
        told = await ask("ModelMetadata", name="m")
        assert (told["platform"], told["inputs"]) == (
            "doubler", [{"name": "x", "datatype": "FP64", "shape": [-1, -1]}]
        )  # fmt: skip
        assert await ask("RepositoryModelUnload", model_name="m") == {"model_name": "m", "isUnloaded": True}
        assert await ask("ModelReady", name="m") == {"ready": False}
        assert await ask("RepositoryModelLoad", model_name="m") == {"model_name": "m", "isLoaded": True}

    ask_by_grpc(body, lambda name: Doubler())


@pytest.mark.parametrize(
    ("datatype", "field", "items"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-1, 2]),
        ("INT64", "int64_contents", [-(2**40), 1]),
        ("UINT32", "uint_contents", [1, 2**31 - 1]),
        ("UINT64", "uint64_contents", [1, 2**62]),
        ("FP32", "fp32_contents", [0.5, -1.5]),
        ("FP64", "fp64_contents", [0.1, 1e300]),
        ("BYTES", "bytes_contents", [b"a", b"\xff"]),
    ],
)
def test_typed_contents_are_answered_with_typed_contents(datatype, field, items):
    async def body(ask: Ask, running: Running) -> None:
        answer = await ask(
            "ModelInfer", model_name="m", id="7", inputs=[make_tensor(datatype, [2], **{field: items})]
        )
        assert (answer["id"], answer["model_name"], answer["raw_output_contents"]) == ("7", "m", [])
        [output] = answer["outputs"]
        is_number = datatype not in ("BOOL", "BYTES")
        assert output["contents"][field] == ([2 * item for item in items] if is_number else items)
        assert (output["datatype"], output["shape"]) == (datatype, [2])

    ask_by_grpc(body, Doubler())


def test_raw_contents_are_answered_with_raw_contents():
    async def body(ask: Ask, running: Running) -> None:
        for kind in ("f2", "f4", "i8"):
            array = numpy.array([[1, 2, 3]], kind)
            name = {"f2": "FP16", "f4": "FP32", "i8": "INT64"}[kind]
            inputs = [make_tensor(name, [1, 3])]
            answer = await ask(
                "ModelInfer", model_name="m", inputs=inputs, raw_input_contents=[array.tobytes()]
            )
            assert answer["raw_output_contents"] == [(array * array.dtype.type(2)).tobytes()]
            assert answer["outputs"][0]["datatype"] == name
            assert len(answer["id"]) == 36

    ask_by_grpc(body, Doubler())


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"model_name": "n"}, "NOT_FOUND", "Model with name n does not exist."),
        ({"model_name": "m", "model_version": "5"}, "NOT_FOUND", "has no version 5"),
        ({"model_name": "m"}, "INVALID_ARGUMENT", "inputs must have 1 to"),
        ({"inputs": [make_tensor("FP31", [1])]}, "INVALID_ARGUMENT", "input x: datatype 'FP31' is none"),
        ({"inputs": [make_tensor("FP32", [-1])]}, "INVALID_ARGUMENT", "input x: shape has -1"),
        ({"inputs": [make_tensor("FP32", [2], fp32_contents=[1.0])]}, "INVALID_ARGUMENT", "fp32_contents has 1"),
        ({"inputs": [make_tensor("FP32", [1], int_contents=[1])]}, "INVALID_ARGUMENT", "FP32 is in fp32_contents"),
        ({"inputs": [make_tensor("FP16", [1], fp32_contents=[1.0])]}, "INVALID_ARGUMENT", "comes as raw"),
        ({"inputs": [make_tensor("INT8", [1], int_contents=[300])]}, "INVALID_ARGUMENT", "too large for INT8"),
        ({"inputs": [make_tensor("FP32", [1])], "raw_input_contents": [b"12"]}, "INVALID_ARGUMENT", "4 bytes, not 2"),
        ({"inputs": [make_tensor("FP32", [1])], "raw_input_contents": [b"1234"] * 2}, "INVALID_ARGUMENT",
         "the number of inputs (1) does not match"),
        ({"inputs": [make_tensor("FP32", [1], fp32_contents=[1.0])], "raw_input_contents": [b"1234"]},
         "INVALID_ARGUMENT", "contents field must not be specified"),
        ({"inputs": [make_tensor("FP32", [1], fp32_contents=[13.0])]}, "INVALID_ARGUMENT", "13.0 is not taken"),
        ({"inputs": [make_tensor("FP32", [1], fp32_contents=[1.0])], "outputs": [{"name": "z"}]},
         "INVALID_ARGUMENT", "output z: the model has y"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_the_right_code(message, code, words):
    async def body(ask: Ask, running: Running) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await ask("ModelInfer", **{"model_name": "m", **message})
        assert (failed.value.code().name, words in failed.value.details()) == (code, True)

    ask_by_grpc(body, Doubler(refused=13.0))


def test_calls_wait_for_their_turn_and_are_refused_where_too_many_do():
    async def body(ask: Ask, running: Running) -> None:
        inputs = [make_tensor("FP32", [1], fp32_contents=[1.0])]
        asked = [asyncio.create_task(ask("ModelInfer", model_name="m", inputs=inputs)) for _ in range(4)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        go_on.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert [one.code().name for one in refused] == ["UNAVAILABLE"]
        assert running.server.load.in_hand == 0
        assert running.server.load.requests == 3

    go_on = threading.Event()
    ask_by_grpc(body, Doubler(go_on=go_on), container_concurrency=1, queue_depth=2)


def test_after_the_word_to_stop_clients_are_sent_elsewhere_and_what_is_in_hand_is_answered():
    async def body(ask: Ask, running: Running) -> None:
        inputs = [make_tensor("FP32", [1], fp32_contents=[1.0])]
        asked = asyncio.create_task(ask("ModelInfer", model_name="m", inputs=inputs))
        await running.until_in_hand(1)
        [server] = running.server._grpc
        [connection] = server._connections
        draining = asyncio.create_task(running.server.drain())
        await asyncio.sleep(0)
        go_on.set()
        assert (await asked)["outputs"][0]["contents"]["fp32_contents"] == [2.0]
        while connection in server._connections:
            await asyncio.sleep(0.001)
        assert await ask("ServerReady") == {"ready": False}
        await draining

    go_on = threading.Event()
    ask_by_grpc(body, Doubler(go_on=go_on))
