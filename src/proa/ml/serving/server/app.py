"""Which path asks what: V1, V2, OpenAI's routes, metrics; all else is an application's, where the model is one.

A path is looked up once, and remembered until a model is loaded or unloaded.
Source: python/kserve/kserve/protocol/rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from proa.ml.serving.server import inference
from proa.ml.serving.server.exchange import Exchange, run_for
from proa.ml.serving.server.gate import Gate
from proa.ml.serving.server.measures import CONTENT_TYPE, Measures
from proa.ml.serving.wire.refusals import Refused
from proa.ml.serving.wire.v2 import read_json

if TYPE_CHECKING:
    from proa.ml.serving.payloads.logger import PayloadLogger
    from proa.ml.serving.server.openai_routes import OpenAiRoutes
    from proa.ml.serving.server.repository import Repository, Served

Answer = Callable[[Exchange], None]

MAX_KNOWN_PATHS = 2_000
SERVER_NAME, EXTENSIONS = "kserve", ["model_repository_extension", "binary_tensor_data"]
_OWN_OF_APPLICATIONS = ("/metrics", "/v2/health/live", "/v2/health/ready")


class App:
    """Answers all exchanges of a server."""

    def __init__(
        self, repository: Repository, gate: Gate, measures: Measures, logger: PayloadLogger | None = None
    ) -> None:
        self._logger = logger
        self._repository = repository
        self._gate = gate
        self._measures = measures
        self._known: dict[bytes, Answer] = {}
        self._seen_change = -1
        self._openai: OpenAiRoutes | None = None
        self.is_draining = False

    def handle(self, exchange: Exchange) -> None:
        """Answer, now or later."""
        if self._seen_change != self._repository.changed:
            self._known.clear()
            self._seen_change = self._repository.changed
        try:
            if exchange.method == b"POST":
                answer = self._known.get(exchange.url)
                if answer is not None:
                    answer(exchange)
                    return
            self._find(exchange)(exchange)
        except Exception as error:
            inference.refuse(exchange, error)

    @property
    def is_ready(self) -> bool:
        """Tell whether requests are answered, and go on to be."""
        return self._repository.is_ready and not self.is_draining

    def _find(self, exchange: Exchange) -> Answer:
        path = exchange.path
        application = self._repository.only_application()
        if application is not None and path not in _OWN_OF_APPLICATIONS:
            from proa.ml.serving.server.asgi import answer_by_application

            return self._logged(partial(self._gate.enter, work=partial(answer_by_application, application)))
        parts = path.strip("/").split("/") if path != "/" else []
        match exchange.method, parts:
            case b"GET" | b"HEAD", []:
                return _say({"status": "alive"})
            case b"GET", ["metrics"]:
                return lambda exchange: exchange.answer(200, self._measures.write(), CONTENT_TYPE)
            case b"GET" | b"HEAD" | b"POST", ["v1", *rest]:
                return self._find_v1(exchange, rest)
            case b"GET" | b"HEAD" | b"POST", ["v2", *rest]:
                return self._find_v2(exchange, rest)
            case b"GET" | b"HEAD" | b"POST", ["openai", "v1", *rest]:
                return self._find_openai(exchange, rest)
        raise _not_found(exchange)

    # V1

    def _find_v1(self, exchange: Exchange, parts: list[str]) -> Answer:
        is_post = exchange.method == b"POST"
        match parts:
            case ["models"] if not is_post:
                return self._list_models_v1
            case ["models", asked] if asked.endswith(":predict"):
                return self._counted(exchange, inference.predict, asked.removesuffix(":predict"))
            case ["models", asked] if asked.endswith(":explain"):
                return self._counted(exchange, inference.explain, asked.removesuffix(":explain"))
            case ["models", name] if not is_post:
                self._repository.find(name)
                return _say({"name": name, "ready": True})
            case ["models", *_]:
                raise _not_found(exchange)
        return self._find_openai(exchange, parts)

    def _list_models(self, exchange: Exchange) -> None:
        exchange.answer_json(orjson.dumps({"models": self._repository.names()}))

    def _list_models_v1(self, exchange: Exchange) -> None:
        """List them as V1 does, and as OpenAI's clients read it too where there is a model of language."""
        if self._repository.has_text_models:
            exchange.answer_json(self._get_openai().list_for_both())
        else:
            self._list_models(exchange)

    # V2

    def _find_v2(self, exchange: Exchange, parts: list[str]) -> Answer:
        is_post = exchange.method == b"POST"
        match parts:
            case [] if not is_post:
                return _say(server_metadata())
            case ["health", "live"] if not is_post:
                return _say({"live": True})
            case ["health", "ready"] if not is_post:
                return self._say_ready
            case ["models"] if not is_post:
                return self._list_models
            case ["models", name, "infer"] if is_post:
                return self._counted(exchange, inference.infer, name)
            case ["models", name, "versions", version, "infer"] if is_post:
                return self._counted(exchange, inference.infer, name, version)
            case ["models", name, *rest] if not is_post:
                return self._find_model(exchange, name, rest)
            case ["repository", *rest] if is_post:
                return self._find_repository(exchange, rest)
        raise _not_found(exchange)

    def _find_model(self, exchange: Exchange, name: str, parts: list[str]) -> Answer:
        match parts:
            case [] | ["versions", _]:
                return _say(model_metadata(self._repository.find(name, parts[1] if parts else "")))
            case ["ready"] | ["versions", _, "ready"]:
                self._repository.find(name, parts[1] if len(parts) > 1 else "")
                return _say({"name": name, "ready": True})
        raise _not_found(exchange)

    def _say_ready(self, exchange: Exchange) -> None:
        if not self.is_ready:
            raise Refused(503, "Server is not ready.")
        exchange.answer_json(b'{"ready":true}')

    def _find_repository(self, exchange: Exchange, parts: list[str]) -> Answer:
        match parts:
            case ["index"]:
                return self._say_index
            case ["models", name, "load"]:
                return partial(_later, work=partial(self._load, name))
            case ["models", name, "unload"]:
                return partial(_later, work=partial(self._unload, name))
        raise _not_found(exchange)

    def _say_index(self, exchange: Exchange) -> None:
        document = read_json(exchange.body) if exchange.body.strip() else {}
        only_ready = type(document) is dict and document.get("ready") is True
        exchange.answer_json(orjson.dumps(self._repository.index(only_ready=only_ready)))

    async def _load(self, name: str, exchange: Exchange) -> None:
        await self._repository.load(name)
        exchange.answer_json(orjson.dumps({"name": name, "load": True}))

    async def _unload(self, name: str, exchange: Exchange) -> None:
        await self._repository.unload(name)
        exchange.answer_json(orjson.dumps({"name": name, "unload": True}))

    # OpenAI's

    def _find_openai(self, exchange: Exchange, parts: list[str]) -> Answer:
        work = self._get_openai().find(exchange.method, parts)
        if work is None:
            raise _not_found(exchange)
        if exchange.method != b"POST":
            return work
        return partial(self._gate.enter, work=work)

    def _logged(self, answer: Answer) -> Answer:
        return answer if self._logger is None else partial(_log_and, self._logger, answer)

    def _get_openai(self) -> OpenAiRoutes:
        from proa.ml.serving.server.openai_routes import OpenAiRoutes

        if self._openai is None:
            self._openai = OpenAiRoutes(self._repository)
        return self._openai

    def _counted(
        self, exchange: Exchange, work: Callable[[Served, Exchange], None], name: str, version: str = ""
    ) -> Answer:
        """Return what answers by a model, and is counted; it is remembered."""
        if exchange.method != b"POST":
            raise Refused(405, "Method Not Allowed: models are asked by POST")
        served = self._repository.find(name, version)
        answer = self._logged(partial(self._gate.enter, work=_guarded(partial(work, served))))
        if len(self._known) >= MAX_KNOWN_PATHS:
            self._known.clear()
        self._known[exchange.url] = answer
        return answer


def server_metadata() -> dict[str, Any]:
    """Return V2's metadata of the server. The name is upstream's server's: clients look at it."""
    from proa import __version__

    return {"name": SERVER_NAME, "version": __version__, "extensions": EXTENSIONS}


def model_metadata(served: Served) -> dict[str, Any]:
    """Return V2's metadata of a model."""
    model: Any = served.model
    return {
        "name": served.name,
        "versions": [served.version] if served.version else [],
        "platform": model.platform,
        "inputs": [_describe(spec) for spec in getattr(model, "inputs", ())],
        "outputs": [_describe(spec) for spec in getattr(model, "outputs", ())],
    }


def _describe(spec: Any) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _log_and(logger: PayloadLogger, answer: Answer, exchange: Exchange) -> None:
    """Log what is asked, and what is answered where that is a success."""
    logged = logger.begin(exchange.headers)
    logger.request(logged, exchange.body)

    def log_answer(status: int, body: bytes, content_type: bytes) -> None:
        if status < 300:
            logger.response(logged, body, content_type.decode("latin-1"))

    exchange.on_answer = log_answer
    answer(exchange)


def _say(document: Any) -> Answer:
    body = orjson.dumps(document)
    return lambda exchange: exchange.answer_json(body)


def _guarded(work: Answer) -> Answer:
    """Answer with an error what fails after it was let in."""

    def run(exchange: Exchange) -> None:
        try:
            work(exchange)
        except Exception as error:
            inference.refuse(exchange, error)

    return run


def _later(exchange: Exchange, work: Callable[[Exchange], Awaitable[None]]) -> None:
    async def run() -> None:
        try:
            await work(exchange)
        except Exception as error:
            inference.refuse(exchange, error)

    task = asyncio.get_running_loop().create_task(run(), name="repository")
    run_for(exchange, task)


def _not_found(exchange: Exchange) -> Refused:
    shown = f"{exchange.method.decode('latin-1')} {exchange.path[:200]}"
    return Refused(404, f"Not Found: {shown} is none of V1's, V2's or OpenAI's paths")
