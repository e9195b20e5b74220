"""The router of a graph: each kind of node, with real servers for the steps; its words and statuses are upstream's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from proa.client.protocol import Request, Response
from proa.ml.serving.graph.definition import BadGraph
from proa.ml.serving.graph.router import read_settings, run_router
from support.model_backends import Backend, exchange, json_response, post, run_backend

NOBODY = "http://127.0.0.1:1/"


async def answer(request: Request) -> Response:
    """Answer by the path: what was asked, predictions, an error, no JSON."""
    match request.path:
        case "/list":
            return json_response([1, 2])
        case "/text":
            return Response(200, {"Content-Type": "text/plain"}, b"hello")
        case "/bad":
            return json_response({"error": "bad"}, 400)
        case "/double":
            return json_response(
                {"predictions": [2 * one for one in orjson.loads(request.body)["instances"]]}
            )
        case "/silent":
            await asyncio.sleep(60)
    return json_response({"path": request.path, "asked": orjson.loads(request.body)})


@asynccontextmanager
async def run_graph(nodes: dict[str, Any], headers: str = "", **spec: Any) -> AsyncIterator[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    text = orjson.dumps({"nodes": nodes, **spec}).decode()
    settings = read_settings(["--graph-json", text, "--quiet-seconds", "0"], {"PROPAGATE_HEADERS": headers})
    stop = asyncio.Event()
    running = asyncio.create_task(run_router(settings, stop, sockets))
    try:
        yield sockets[0].getsockname()[1]
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)


def ask(nodes: dict[str, Any], body: Any, **spec: Any) -> tuple[int, Any, list[Request]]:
    """Return status, answer (text where it is no JSON) and what the steps were asked. `@x` is a URL of theirs."""

    async def scenario() -> tuple[bytes, Backend]:
        async with run_backend(answer) as backend:
            text = orjson.dumps(nodes).decode().replace('"@', f'"{backend.url}/')
            sent = body if isinstance(body, bytes) else orjson.dumps(body)
            async with run_graph(orjson.loads(text), **spec) as port:
                return await exchange(port, post("/any/path", sent)), backend

    got, backend = asyncio.run(scenario())
    head, _, told = got.partition(b"\r\n\r\n")
    is_json = b"application/json" in head
    return int(head.split()[1]), orjson.loads(told) if is_json else told.decode(), backend.asked


def root(kind: str, *steps: dict[str, Any], **nodes: Any) -> dict[str, Any]:
    return {"root": {"routerType": kind, "steps": list(steps)}, **nodes}


def step(url: str = "", **fields: Any) -> dict[str, Any]:
    return {"serviceUrl": url, **fields} if url else fields


def failed(cause: str) -> dict[str, str]:
    return {"error": "Failed to process request", "cause": cause}


ASKED: dict[str, tuple[dict[str, Any], Any, int, Any]] = {
    "sequence: each step gets the request": (
        root("Sequence", step("@a"), step("@b")),
        {"x": 1}, 200, {"path": "/b", "asked": {"x": 1}},
    ),
    "sequence: a step gets the answer before it": (
        root("Sequence", step("@a", data="$response"), step("@b", data="$response")),
        {"x": 1}, 200, {"path": "/b", "asked": {"path": "/a", "asked": {"x": 1}}},
    ),
    "sequence: predictions become instances": (
        root("Sequence", step("@double"), step("@double", data="$response", mapPredictionsToInstances=True)),
        {"instances": [1, 2]}, 200, {"predictions": [4, 8]},
    ),
    "sequence: a condition that does not hold ends it": (
        root("Sequence", step("@double"), step("@a", condition="predictions.#(>5)")),
        {"instances": [1, 2]}, 200, {"predictions": [2, 4]},
    ),
    "sequence: a condition that holds goes on": (
        root("Sequence", step("@double"), step("@a", data="$response", condition="predictions.#(>3)")),
        {"instances": [1, 2]}, 200, {"path": "/a", "asked": {"predictions": [2, 4]}},
    ),
    "sequence: a condition on no JSON": (
        root("Sequence", step("@text"), step("@a", condition="x")), {}, 500, failed("invalid response"),
    ),
    "sequence: a hard step that fails ends it": (
        root("Sequence", step("@bad", dependency="Hard"), step("@a")), {}, 400, {"error": "bad"},
    ),
    "sequence: a soft step that fails does not": (
        root("Sequence", step("@bad"), step("@a", data="$response")),
        {}, 200, {"path": "/a", "asked": {"error": "bad"}},
    ),
    "sequence: the last step's status is the answer's": (
        root("Sequence", step("@a"), step("@bad")), {}, 400, {"error": "bad"},
    ),
    "an answer that is no JSON passes": (root("Sequence", step("@text")), {}, 200, "hello"),
    "switch: the first condition that holds": (
        root("Switch", step("@a", condition="[@this].#(x==2)"), step("@b", condition="x"), step("@c", condition="x")),
        {"x": 1}, 200, {"path": "/b", "asked": {"x": 1}},
    ),
    "switch: none holds": (
        root("Switch", step("@a", condition="y")),
        {"x": 1}, 404, failed("None of the routes matched with the switch condition"),
    ),
    "switch: the request is no JSON": (
        root("Switch", step("@a", condition="y")),
        b"{", 404, failed("None of the routes matched with the switch condition"),
    ),
    "switch: an error of the service passes": (
        root("Switch", step("@bad", condition="x")), {"x": 1}, 400, {"error": "bad"},
    ),
    "ensemble: answers by name, or number": (
        root("Ensemble", step("@a", name="one"), step("@double")),
        {"instances": [1]}, 200, {"one": {"path": "/a", "asked": {"instances": [1]}}, "1": {"predictions": [2]}},
    ),
    "ensemble: a soft step that fails is among them": (
        root("Ensemble", step("@bad", name="soft"), step("@double", name="ok", dependency="Hard")),
        {"instances": [1]}, 200, {"soft": {"error": "bad"}, "ok": {"predictions": [2]}},
    ),
    "ensemble: a hard step that fails is the answer": (
        root("Ensemble", step("@a"), step("@bad", dependency="Hard")), {}, 400, {"error": "bad"},
    ),
    "ensemble: an answer that cannot be merged": (
        root("Ensemble", step("@list", name="l")), {}, 500,
        failed("the answer of step l is no JSON object, and cannot be merged"),
    ),
    "splitter: all to one": (
        root("Splitter", step("@a", weight=0), step("@b", weight=100)), {}, 200, {"path": "/b", "asked": {}},
    ),
    "splitter: none": (
        root("Splitter", step("@a", weight=0)), {}, 500, failed("no route was selected by the splitter"),
    ),
    "nodes within nodes": (
        root("Sequence", step("@double"), {"nodeName": "both", "data": "$response"},
             both={"routerType": "Ensemble", "steps": [step("@a", name="a"), {"nodeName": "pick", "name": "b"}]},
             pick={"routerType": "Switch", "steps": [step("@b", condition="predictions")]}),
        {"instances": [1]}, 200,
        {"a": {"path": "/a", "asked": {"predictions": [2]}}, "b": {"path": "/b", "asked": {"predictions": [2]}}},
    ),
    "a switch within that finds nothing": (
        root("Sequence", {"nodeName": "pick"}, pick={"routerType": "Switch", "steps": [step("@b", condition="y")]}),
        {}, 500, failed("None of the routes matched with the switch condition"),
    ),
    "a node that is not there": (root("Sequence", {"nodeName": "gone"}), {}, 500, failed("invalid route type: ")),
    "a circle": (
        root("Sequence", {"nodeName": "root"}), {}, 500,
        failed("nodes lead to one another more than 100 times, at root"),
    ),
    "a service that is not there": (
        root("Sequence", step(NOBODY)), {}, 500, failed(f'Post "{NOBODY}": Connection refused'),
    ),
    "a URL that is none": (
        root("Sequence", step("ftp://x")), {}, 500,
        failed('Post "ftp://x": unsupported protocol scheme or no host: must be http://HOST or https://HOST'),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "body", "status", "expected"), ASKED.values(), ids=ASKED)
def test_a_graph_answers(nodes: dict[str, Any], body: Any, status: int, expected: Any) -> None:
    assert ask(nodes, body)[:2] == (status, expected)


def test_the_steps_of_an_ensemble_are_asked_at_once() -> None:
    async def scenario() -> bytes:
        together = asyncio.Barrier(3)

        async def meet(request: Request) -> Response:
            await together.wait()
            return json_response({"path": request.path})

        async with run_backend(meet) as backend:
            async with run_graph(root("Ensemble", *(step(f"{backend.url}/{i}") for i in range(3)))) as port:
                return await exchange(port, post("/", b"{}"))

    told = orjson.loads(asyncio.run(scenario()).partition(b"\r\n\r\n")[2])
    assert told == {str(i): {"path": f"/{i}"} for i in range(3)}


def test_only_headers_that_are_named_go_on_and_a_body_is_json_unless_it_says_otherwise() -> None:
    async def scenario() -> list[Request]:
        async with run_backend(answer) as backend:
            nodes = root("Sequence", step(f"{backend.url}/a"))
            async with run_graph(nodes, "Authorization,X-.*,(") as port:
                sent = "Authorization: Bearer t\r\nX-Id: 7\r\nCookie: c\r\n"
                await exchange(port, post("/", b"{}", sent))
            async with run_graph(nodes, ".*") as port:
                await exchange(port, post("/", b"{}", "Content-Type: text/x\r\n"))
            return backend.asked

    named, every = (request.headers for request in asyncio.run(scenario()))
    assert (named["authorization"], named["x-id"], named["content-type"]) == (
        "Bearer t",
        "7",
        "application/json",
    )
    assert "cookie" not in named
    assert every["content-type"] == "text/x"
    assert every["host"].startswith("127.0.0.1:")


def test_a_service_that_is_silent_and_a_graph_that_takes_too_long_are_errors() -> None:
    nodes = root("Sequence", step("@silent"))
    status, told, _ = ask(nodes, {}, routerTimeouts={"serviceClient": 1})
    assert (status, told["cause"].rpartition(": ")[2]) == (500, "no answer within 1 s")
    status, told, _ = ask(nodes, {}, routerTimeouts={"serverWrite": 1})
    assert (status, told["cause"]) == (504, "no answer within 1 s (routerTimeouts.serverWrite)")


def test_weights_are_shares_of_the_requests() -> None:
    from proa.ml.serving.graph.definition import read_graph
    from proa.ml.serving.graph.walk import Outcome, Walk

    asked = dict.fromkeys("ab", 0)

    async def call(url: str, body: bytes) -> Outcome:
        asked[url] += 1
        return Outcome(200, body)

    async def scenario() -> None:
        graph = read_graph({"nodes": root("Splitter", step("a", weight=30), step("b", weight=70))})
        for drawn in range(100):
            await Walk(graph, lambda: drawn / 100).answer(b"", call)  # noqa: B023

    asyncio.run(scenario())
    assert asked == {"a": 30, "b": 70}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"other": {"routerType": "Sequence"}}, "there is no node 'root'"),
        (
            root("Switch", step("x", condition="a==1")),
            "spec.nodes[root].steps[0].condition: a comparison stands in #(",
        ),
    ],
)
def test_what_is_no_graph_is_refused_with_words_that_say_where(nodes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadGraph) as caught:
        read_settings(["--graph-json", orjson.dumps({"nodes": nodes}).decode()], {})
    assert words in str(caught.value)
