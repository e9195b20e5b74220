"""The model server over HTTP: V1, V2, repository, CloudEvents, errors, limits, drain; on real sockets."""

import asyncio
import threading

import numpy
import orjson
import pytest

from proa.ml.serving.payloads.flags import LogSettings
from proa.ml.serving.server.formats.protocol import ModelError
from support.model_server import Doubler, Running, serve, tensor

PREDICT, INFER = "/v1/models/m:predict", "/v2/models/m/infer"


def test_v1_answers_predictions_of_rows_and_of_objects():
    async def body(running: Running) -> None:
        answer = await running.ask("POST", PREDICT, {"instances": [[1.5, 2], [3, 4]]})
        assert (answer.status, answer.json) == (200, {"predictions": [[3, 4], [6, 8]]})
        assert (await running.ask("POST", PREDICT, {"inputs": [1, 2]})).json == {"predictions": [2, 4]}
        assert (await running.ask("POST", PREDICT, {"instances": ["a", "é"]})).json == {
            "predictions": ["a", "é"]
        }
        await running.ask("POST", PREDICT, {"instances": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]})
        assert {name: array.tolist() for name, array in model.seen.items()} == {"a": [1, 2], "b": ["x", "y"]}

    model = Doubler()
    serve(body, model)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"{", "Unrecognized request format"),
        (b'{"instances": [NaN]}', "Unrecognized request format"),
        ({}, 'Expected "instances" in the request'),
        ([], 'the body must be an object with "instances"'),
        ({"instances": 1}, 'Expected "instances" to be a list'),
        ({"instances": "abc"}, 'Expected "instances" to be a list'),
        ({"instances": [[1, 2], [3]]}, "input x: the instances have different lengths"),
        ({"instances": [{"a": 1}, {"b": 1}]}, "instances[1] is not like the first: it lacks a"),
        ({"instances": [{"a": 1}, 5]}, "instances[1] is not like the first"),
        ({"instances": [1, {"a": 1}]}, "input x: the instances have {'a': 1}: all must have one shape"),
        ({"instances": [[13.0]]}, "input x: 13.0 is not taken"),
    ],
)
def test_v1_refuses_what_is_no_request_and_says_why(document, words):
    async def body(running: Running) -> None:
        answer = await running.ask("POST", PREDICT, document)
        assert answer.status == 400
        assert words in answer.json["error"]

    serve(body, Doubler(refused=13.0))


def test_v2_tells_of_server_and_model_and_infers():
    async def body(running: Running) -> None:
        expected = {
            "/": {"status": "alive"},
            "/v2/health/live": {"live": True},
            "/v2/health/ready": {"ready": True},
            "/v2/models": {"models": ["m"]},
            "/v2/models/m/ready": {"name": "m", "ready": True},
            "/v1/models": {"models": ["m"]},
            "/v1/models/m": {"name": "m", "ready": True},
        }
        assert {path: (await running.ask("GET", path)).json for path in expected} == expected
        server = (await running.ask("GET", "/v2")).json
        assert {name: type(value) for name, value in server.items()} == {
            "name": str,
            "version": str,
            "extensions": list,
        }
        assert (await running.ask("GET", "/v2/models/m")).json == {
            "name": "m",
            "versions": [],
            "platform": "doubler",
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, -1]}],
            "outputs": [{"name": "y", "datatype": "FP64", "shape": [-1, -1]}],
        }
        answer = await running.ask("POST", INFER, {"id": "7", "inputs": [tensor([[1.0, 2.0]])]})
        outputs = [{"name": "y", "shape": [1, 2], "datatype": "FP64", "data": [2.0, 4.0]}]
        assert answer.json == {"model_name": "m", "id": "7", "outputs": outputs}

    serve(body, Doubler())


def test_v2_takes_and_gives_bytes_behind_the_json():
    async def body(running: Running) -> None:
        array = numpy.arange(6, dtype="f4").reshape(2, 3)
        head = orjson.dumps(
            {
                "inputs": [
                    {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
                ],
                "parameters": {"binary_data_output": True},
            }
        )
        headers = {
            "Inference-Header-Content-Length": str(len(head)),
            "Content-Type": "application/octet-stream",
        }
        answer = await running.ask("POST", INFER, head + array.tobytes(), headers)
        length = int(answer.headers["inference-header-content-length"])
        assert orjson.loads(answer.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 24}
        assert (numpy.frombuffer(answer.body[length:], "f4").reshape(2, 3) == array * 2).all()
        answer = await running.ask("POST", INFER, head + array.tobytes()[:-1], headers)
        assert (answer.status, answer.json) == (
            400, {"error": "input x: binary_data_size is 24, 23 bytes are left"}
        )  # fmt: skip

    serve(body, Doubler())


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/v1/models/other:predict", 404, "Model with name other does not exist."),
        ("GET", "/v1/models/other", 404, "Model with name other does not exist."),
        ("GET", "/v2/models/other/ready", 404, "Model with name other does not exist."),
        (
            "POST",
            "/v2/models/m/versions/2/infer",
            404,
            "Model with name m has no version 2: it has no versions.",
        ),
        ("POST", "/v1/models/m:explain", 501, "Model with name m explains nothing"),
        ("GET", "/v1/models/m:predict", 405, "Method Not Allowed"),
        ("GET", "/nowhere", 404, "Not Found: GET /nowhere"),
        ("POST", "/v2/repository/models/other/load", 404, "Model with name other does not exist."),
        ("DELETE", "/v2/models/m", 404, "Not Found: DELETE /v2/models/m"),
    ],
)
def test_what_is_not_there_is_said_in_kserves_words(method, path, status, words):
    async def body(running: Running) -> None:
        answer = await running.ask(method, path, {"instances": [1]})
        assert answer.status == status
        assert words in answer.json["error"]

    serve(body, Doubler())


def test_cloud_events_are_answered_with_cloud_events():
    async def body(running: Running) -> None:
        attributes = {"specversion": "1.0", "id": "36077800", "source": "https://example.com", "type": "a.b"}
        answer = await running.ask(
            "POST", PREDICT, {"instances": [[1]]}, {f"ce-{name}": value for name, value in attributes.items()}
        )
        assert answer.json == {"predictions": [[2]]}
        told = {
            name: answer.headers[name] for name in ("ce-specversion", "ce-type", "ce-source", "content-type")
        }
        assert told == {
            "ce-specversion": "1.0",
            "ce-type": "io.kserve.inference.response",
            "ce-source": "io.kserve.inference.m",
            "content-type": "application/json",
        }
        event = {**attributes, "time": "2006-01-02T15:04:05Z", "data": {"instances": [[1]]}}
        kind = {"Content-Type": "application/cloudevents+json"}
        answer = await running.ask("POST", PREDICT, event, kind)
        assert answer.headers["content-type"] == "application/cloudevents+json"
        assert answer.json["data"] == {"predictions": [[2]]}
        answer = await running.ask("POST", PREDICT, {"instances": [[1]]}, {"ce-specversion": "1.0"})
        assert (answer.status, "Failed to find ce-id" in answer.json["error"]) == (400, True)

    serve(body, Doubler())


def test_models_are_loaded_and_unloaded_while_others_are_asked(tmp_path):
    made: list[Doubler] = []

    def open_model(name: str) -> Doubler:
        if name == "bad":
            raise ModelError("no model's file is there")
        made.append(Doubler())
        return made[-1]

    async def body(running: Running) -> None:
        assert sorted((await running.ask("GET", "/v2/models")).json["models"]) == ["a", "b"]
        index = (await running.ask("POST", "/v2/repository/index")).json
        assert {row["name"]: (row["state"], row["version"]) for row in index} == {
            "a": ("READY", "2"), "b": ("READY", ""), "bad": ("UNAVAILABLE", "")
        }  # fmt: skip
        assert (
            await running.ask("POST", "/v2/models/a/versions/2/infer", {"inputs": [tensor([1.0])]})
        ).status == 200
        answer = await running.ask("POST", "/v2/repository/models/a/unload")
        assert answer.json == {"name": "a", "unload": True}
        assert made[0].is_closed
        assert (await running.ask("POST", "/v2/models/a/infer", {"inputs": [tensor([1.0])]})).status == 404
        assert (await running.ask("POST", "/v2/repository/models/a/load")).json == {"name": "a", "load": True}
        assert (await running.ask("POST", "/v2/models/a/infer", {"inputs": [tensor([1.0])]})).status == 200
        answer = await running.ask("POST", "/v2/repository/models/bad/load")
        assert answer.status == 503
        assert answer.json["error"] == "Model with name bad is not ready. no model's file is there"
        (tmp_path / "new").mkdir()
        assert (await running.ask("POST", "/v2/repository/models/new/load")).status == 200
        assert (await running.ask("POST", "/v1/models/new:predict", {"instances": [1]})).status == 200

    for folder in ("a/1", "a/2", "b", "bad"):
        (tmp_path / folder).mkdir(parents=True)
    serve(body, open_model, is_repository=True, model_dir=tmp_path)


def test_the_load_port_counts_what_models_are_asked_and_nothing_else():
    async def body(running: Running) -> None:
        for _ in range(3):
            await running.ask("POST", PREDICT, {"instances": [1]})
            await running.ask("GET", "/v2/health/ready")
        load = await running.connect(running.ports.load)
        told = (await load.ask("GET", "/")).json
        assert (told["requests"], told["in_hand"]) == (3, 0)
        assert 0.03 <= told["busy_seconds"] <= told["seconds"]
        metrics = (await load.ask("GET", "/metrics")).body.decode()
        for step in ("preprocess", "predict", "postprocess"):
            assert f'request_{step}_seconds_count{{model_name="m"}} 3' in metrics
        assert (
            (await running.ask("GET", "/metrics"))
            .body.decode()
            .startswith("# HELP request_preprocess_seconds")
        )

    serve(body, Doubler(seconds=0.01))


def test_more_than_may_be_answered_at_once_waits_and_more_than_may_wait_is_refused():
    async def body(running: Running) -> None:
        clients = [await running.connect() for _ in range(4)]
        for number, client in enumerate(clients[:3], start=1):
            client.send("POST", PREDICT, {"instances": [[1]]})
            await running.until_in_hand(number)
        refused = await clients[3].ask("POST", PREDICT, {"instances": [[1]]})
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "too many requests wait" in refused.json["error"]
        go_on.set()
        assert [(await client.answer()).status for client in clients[:3]] == [200, 200, 200]
        assert model.calls == [(1, 1)] * 3
        for client in clients:
            client.writer.close()

    go_on = threading.Event()
    model = Doubler(go_on=go_on)
    serve(body, model, container_concurrency=1, queue_depth=2)


def test_what_waits_for_a_client_that_has_gone_is_let_go():
    async def body(running: Running) -> None:
        first, second = await running.connect(), await running.connect()
        first.send("POST", PREDICT, {"instances": [[1]]})
        second.send("POST", PREDICT, {"instances": [[1]]})
        await running.until_in_hand(2)
        second.writer.close()
        await running.until_in_hand(1)
        go_on.set()
        assert (await first.answer()).status == 200
        assert (await running.ask("POST", PREDICT, {"instances": [[1]]})).status == 200
        assert running.server.load.in_hand == 0

    go_on = threading.Event()
    serve(body, Doubler(go_on=go_on), container_concurrency=1, queue_depth=5)


def test_an_answer_that_takes_too_long_is_504():
    async def body(running: Running) -> None:
        answer = await running.ask("POST", PREDICT, {"instances": [[1]]})
        assert (answer.status, answer.json) == (504, {"error": "the model has not answered in time"})
        go_on.set()

    go_on = threading.Event()
    serve(body, Doubler(go_on=go_on), timeout_seconds=0.1)


def test_after_the_word_to_stop_it_is_not_ready_and_answers_what_comes_and_is_in_hand():
    async def body(running: Running) -> None:
        busy, idle = await running.connect(), await running.connect()
        await idle.ask("GET", "/")
        busy.send("POST", PREDICT, {"instances": [[1]]})
        await running.until_in_hand(1)
        draining = asyncio.create_task(running.server.drain())
        await asyncio.sleep(0)
        ready = await running.ask("GET", "/v2/health/ready")
        assert (ready.status, ready.headers["connection"]) == (503, "close")
        asked_late = asyncio.create_task(running.ask("POST", PREDICT, {"instances": [[2]]}))
        await running.until_in_hand(2)
        go_on.set()
        late = await asked_late
        assert (late.status, late.headers["connection"]) == (200, "close")
        answer = await busy.answer()
        assert (answer.json, answer.headers["connection"]) == ({"predictions": [[2]]}, "close")
        assert await busy.reader.read() == b""
        assert await idle.reader.read() == b""
        await draining

    go_on = threading.Event()
    serve(body, Doubler(go_on=go_on))


def test_draining_ends_when_its_time_is_up():
    async def body(running: Running) -> None:
        client = await running.connect()
        client.send("POST", PREDICT, {"instances": [[1]]})
        await running.until_in_hand(1)
        await running.server.drain()
        assert model.calls == []
        go_on.set()

    go_on = threading.Event()
    model = Doubler(go_on=go_on)
    serve(body, model, drain_seconds=0.2)


def test_a_model_that_cannot_be_loaded_says_so():
    def open_model(name: str) -> Doubler:
        raise ModelError("there is no file")

    async def body(running: Running) -> None:
        raise AssertionError("it must not come so far")

    with pytest.raises(ModelError, match="there is no file"):
        serve(body, open_model)


def test_payloads_are_logged_where_that_is_asked_for_and_only_successes_answers(tmp_path):
    async def body(running: Running) -> None:
        await running.ask("POST", PREDICT, {"instances": [[1]]}, {"ce-id": "first", "ce-type": "t"})
        await running.ask("POST", INFER, {"inputs": [tensor([2.0])]})
        await running.ask("POST", PREDICT, {"instances": 1})
        await running.ask("GET", "/v2/health/ready")
        assert b'payload_events_total{result="dropped"} 0' in (await running.ask("GET", "/metrics")).body

    serve(body, Doubler(), payloads=LogSettings(url=f"file://{tmp_path}"))
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    lines = [orjson.loads(line) for text in texts for line in text.splitlines()]
    kinds = sorted(event["type"].rpartition(".")[2] for event in lines)
    assert kinds == ["request", "request", "request", "response", "response"]
    first = {event["type"].rpartition(".")[2]: event["data"] for event in lines if event["id"] == "first"}
    assert first == {"request": {"instances": [[1]]}, "response": {"predictions": [[2]]}}


class Succession:
    """Makes a model when it may; or never, where it is stopped."""

    def __init__(self, model):
        self.model, self.go_on = model, threading.Event()

    def make(self):
        assert self.go_on.wait(60)
        return self.model

    def stop(self):
        self.model = None
        self.go_on.set()


class Forerunner(Doubler):
    def __init__(self, successor):
        super().__init__()
        self.successor = successor

    def close(self):
        super().close()
        self.successor.stop()


def test_a_models_successor_takes_its_place_while_requests_go_on():
    async def body(running: Running) -> None:
        client = await running.connect()
        assert (await client.ask("GET", "/v2/health/ready")).status == 200
        assert (await client.ask("POST", PREDICT, {"instances": [[1]]})).json == {"predictions": [[2]]}
        assert (len(first.calls), len(second.calls)) == (1, 0)
        first.successor.go_on.set()
        async with asyncio.timeout(60):
            while not first.is_closed:
                assert (await client.ask("POST", PREDICT, {"instances": [[1]]})).json == {
                    "predictions": [[2]]
                }
        calls = len(first.calls)
        assert (await client.ask("POST", PREDICT, {"instances": [[1]]})).json == {"predictions": [[2]]}
        assert len(first.calls) == calls
        assert second.calls

    second = Doubler()
    first = Forerunner(Succession(second))
    serve(body, first)
    assert second.is_closed


@pytest.mark.parametrize("how", ["unloaded", "loaded anew", "at the end"])
def test_nothing_succeeds_a_model_that_is_no_more(how):
    async def body(running: Running) -> None:
        if how == "unloaded":
            await running.server.repository.unload("m")
        elif how == "loaded anew":
            await running.server.repository.load("m")
            assert running.server.repository.find("m").model is models[1]

    models = [Forerunner(Succession(Doubler())), Doubler()]
    left = iter(models)
    serve(body, lambda name: next(left))
    assert models[0].is_closed
    assert models[0].successor.model is None
