"""Models that are no models of tensors: a custom class, a model of language, an application."""

import asyncio
import gc

import orjson
import pytest

from proa.ml.serving.server.formats.protocol import InputError
from support.model_server import Running, serve, tensor


class Echo:
    """A custom class."""

    platform = "custom"

    async def predict(self, payload, headers):
        if payload == {"instances": ["bad"]}:
            raise InputError("it is bad")
        if payload == {"instances": ["broken"]}:
            raise RuntimeError("oh")
        if payload == {"instances": ["slow"]}:
            await asyncio.sleep(60)
        if "inputs" in payload:
            return {"outputs": [{**payload["inputs"][0], "name": "y"}]}
        return {"predictions": payload["instances"], "agent": headers.get("user-agent")}

    async def explain(self, payload, headers):
        return {"explanations": payload["instances"]}

    def close(self) -> None:
        pass


class Parrot:
    """A model of language."""

    platform = "parrot"

    async def chat(self, request):
        for word in str(request["messages"][-1]["content"]).split():
            if word == "broken":
                raise RuntimeError("oh")
            if word == "bad":
                raise InputError("it is bad")
            yield word + " "

    async def complete(self, request):
        yield request["prompt"]
        yield "!"

    async def embed(self, texts):
        return [[float(len(text)), 0.5] for text in texts]

    def close(self) -> None:
        pass


class Application:
    """An ASGI application with a lifespan."""

    platform = "fastapi"

    def __init__(self) -> None:
        self.told: list[str] = []

    async def app(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{step}"
                self.told.append(step)
                scope["state"]["word"] = "hello"
                await send({"type": f"lifespan.{step}.complete"})
            return
        body = (await receive())["body"]
        if scope["path"] == "/broken":
            raise RuntimeError("oh")
        if scope["path"] == "/slow":
            assert (await receive())["type"] == "http.disconnect"
            self.told.append("gone")
            return
        await send(
            {
                "type": "http.response.start",
                "status": 201,
                "headers": [(b"a", b"b"), (b"content-type", b"text/x")],
            }
        )
        said = f"{scope['method']} {scope['path']} {scope['query_string'].decode()} {scope['state']['word']} ".encode()
        if scope["path"] == "/pieces":
            for piece in (b"one ", b"two"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            await send({"type": "http.response.body", "body": said + body, "more_body": False})
            return
        await send({"type": "http.response.body"})

    def close(self) -> None:
        self.told.append("closed")


def test_a_custom_class_is_asked_by_v1_and_v2_and_explains():
    async def body(running: Running) -> None:
        answer = await running.ask(
            "POST", "/v1/models/m:predict", {"instances": [{"a": 1}]}, {"User-Agent": "me"}
        )
        assert answer.json == {"predictions": [{"a": 1}], "agent": "me"}
        answer = await running.ask("POST", "/v1/models/m:explain", {"instances": [1]})
        assert answer.json == {"explanations": [1]}
        answer = await running.ask("POST", "/v2/models/m/infer", {"id": "5", "inputs": [tensor([1.5])]})
        assert answer.json == {"model_name": "m", "id": "5", "outputs": [tensor([1.5], name="y")]}
        head = orjson.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64",
                                         "parameters": {"binary_data_size": 8}}]})  # fmt: skip
        length = {"Inference-Header-Content-Length": str(len(head))}
        answer = await running.ask("POST", "/v2/models/m/infer", head + b"\0" * 8, length)
        assert answer.json["outputs"] == [tensor([0.0], name="y")]
        for word, status, words in (("bad", 400, "it is bad"), ("broken", 500, "RuntimeError : oh")):
            answer = await running.ask("POST", "/v1/models/m:predict", {"instances": [word]})
            assert (answer.status, answer.json) == (status, {"error": words})

    serve(body, Echo())


def test_a_task_for_a_client_that_has_gone_is_ended():
    async def body(running: Running) -> None:
        client = await running.connect()
        client.send("POST", "/v1/models/m:predict", {"instances": ["slow"]})
        while not running.server.load.in_hand:
            await asyncio.sleep(0.001)
        client.writer.close()
        while any(task.get_name() == "inference" for task in asyncio.all_tasks()):
            await asyncio.sleep(0.001)
        assert running.server.load.in_hand == 0

    serve(body, Echo())


def test_what_is_refused_before_the_model_was_asked_is_never_begun():
    async def body(running: Running) -> None:
        http = running.server.http
        handle = http.handle

        def handle_too_late(exchange) -> None:
            handle(exchange)
            exchange.answer(504, b"{}")

        http.handle = handle_too_late
        for path in ("/v1/models/m:predict", "/v1/models/m:explain", "/v2/models/m/infer"):
            assert (await running.ask("POST", path, {"instances": ["broken"]})).status == 504

    serve(body, Echo())
    gc.collect()  # a coroutine that was never awaited is told of here, and fails the test


@pytest.mark.parametrize("prefix", ["/openai/v1", "/v1"])
def test_a_model_of_language_completes_chats_and_embeds(prefix):
    async def body(running: Running) -> None:
        listed = (await running.ask("GET", f"{prefix}/models")).json
        assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["m"])
        answer = (
            await running.ask("POST", f"{prefix}/completions", {"model": "m", "prompt": ["a", "b"]})
        ).json
        assert [choice["text"] for choice in answer["choices"]] == ["a!", "b!"]
        asked = {"model": "m", "messages": [{"role": "user", "content": "hello you"}]}
        answer = (await running.ask("POST", f"{prefix}/chat/completions", asked)).json
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "hello you "}
        assert answer["object"] == "chat.completion"
        answer = (
            await running.ask("POST", f"{prefix}/embeddings", {"model": "m", "input": ["abc", ""]})
        ).json
        assert [row["embedding"] for row in answer["data"]] == [[3.0, 0.5], [0.0, 0.5]]

    serve(body, Parrot())


def test_an_answer_of_a_model_of_language_comes_as_events():
    async def body(running: Running) -> None:
        asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello you"}]}
        answer = await running.ask("POST", "/openai/v1/chat/completions", asked)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = [part.removeprefix(b"data: ") for part in answer.body.split(b"\n\n") if part]
        assert events[-1] == b"[DONE]"
        choices = [orjson.loads(event)["choices"][0] for event in events[:-1]]
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "hello you "
        assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
        asked["messages"] = [{"role": "user", "content": "hello broken"}]
        answer = await running.ask("POST", "/openai/v1/chat/completions", asked)
        assert b'"message":"RuntimeError : oh"' in answer.body
        asked["messages"] = [{"role": "user", "content": "bad"}]
        answer = await running.ask("POST", "/openai/v1/chat/completions", asked)
        error = {"message": "it is bad", "type": "BadRequestError", "param": "", "code": "400"}
        assert (answer.status, answer.json) == (400, {"error": error})

    serve(body, Parrot())


@pytest.mark.parametrize(
    ("path", "document", "status", "words"),
    [
        ("completions", {"model": "m"}, 400, "prompt must be a text"),
        ("completions", {"prompt": "a"}, 400, "model must be a text"),
        ("completions", {"model": "n", "prompt": "a"}, 404, "Model with name n does not exist."),
        (
            "completions",
            {"model": "m", "prompt": "a", "temperature": 9},
            400,
            "temperature must be a number from 0",
        ),
        ("completions", {"model": "m", "prompt": "a", "n": 2}, 400, "n must be 1"),
        ("completions", {"model": "m", "prompt": ["a", "b"], "stream": True}, 400, "prompt must be one text"),
        ("chat/completions", {"model": "m", "messages": []}, 400, "messages must be a list of 1 to"),
        ("chat/completions", {"model": "m", "messages": [1]}, 400, "messages[0] must be an object"),
        ("embeddings", {"model": "m", "input": [1]}, 400, "input must be a text"),
        ("embeddings", b"{", 400, "Unrecognized request format"),
    ],
)
def test_what_no_model_of_language_takes_is_refused_as_openai_has_it(path, document, status, words):
    async def body(running: Running) -> None:
        answer = await running.ask("POST", f"/openai/v1/{path}", document)
        assert (answer.status, words in answer.json["error"]["message"]) == (status, True)

    serve(body, Parrot())


def test_an_application_answers_what_is_not_the_servers_own():
    async def body(running: Running) -> None:
        assert application.told == ["startup"]
        answer = await running.ask("POST", "/v1/models/m:predict?a=b", b"data")
        assert (answer.status, answer.headers["a"], answer.headers["content-type"]) == (201, "b", "text/x")
        assert answer.body == b"POST /v1/models/m:predict a=b hello data"
        answer = await running.ask("GET", "/pieces")
        assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"one two")
        answer = await running.ask("GET", "/broken")
        assert (answer.status, answer.json) == (500, {"error": "RuntimeError : oh"})
        assert (await running.ask("GET", "/v2/health/ready")).json == {"ready": True}
        assert b"request_predict_seconds_count" in (await running.ask("GET", "/metrics")).body
        client = await running.connect()
        client.send("GET", "/slow")
        while not running.server.load.in_hand:
            await asyncio.sleep(0.001)
        client.writer.close()
        while running.server.load.in_hand:
            await asyncio.sleep(0.001)
        assert running.server.load.requests == 4

    application = Application()
    serve(body, application)
    assert application.told[-2:] == ["shutdown", "closed"]
