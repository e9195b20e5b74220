"""Serve a class of the user's: KServe's Model by its methods, whether it inherits from that or not.

`load()`, `preprocess(payload, headers)`, `predict(payload, headers)`, `postprocess(result, headers)`,
`explain(payload, headers)`: each may be left out but predict, may be asynchronous, and may leave out `headers`.
Payloads are the decoded JSON of V1 or V2. What is not asynchronous runs in one thread of the model's own: its
methods are never called twice at once, and the server answers others meanwhile.

A transformer has no `predict`: what its `preprocess` returned is sent to the predictor (predictor.py).

The class is `--model_class=module:Class`, by default Model in model.py of the model's folder; it is made with the
model's name where its constructor takes one, and finds the folder as `self.model_dir`.

Source: KServe's python/kserve/kserve/model.py.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from proa.ml.serving.server.formats.modules import load_object
from proa.ml.serving.server.formats.predictor import Predictor, find_predictor
from proa.ml.serving.server.formats.protocol import InputError, LoadOptions, ModelError

DEFAULT_CLASS = "model:Model"
_UPSTREAM = "kserve.model"
_INVALID_INPUT = "InvalidInput"
"""KServe's error for requests that do not fit, by name: a class of the user's may come with any version of it."""


def load(folder: Path, options: LoadOptions) -> CustomModel:
    """Return the class' one object as a model, after its `load`."""
    word = options.settings.get("model_class") or DEFAULT_CLASS
    kind = load_object(folder, word)
    predictor = find_predictor(options) if _is_transformer(kind) else None
    if predictor is None and not callable(getattr(kind, "predict", None)):
        raise ModelError(
            f"{word} has no method predict; expected predict(self, payload, headers), or of a transformer "
            f"--predictor_host"
        )
    try:
        made = kind(options.name) if _takes_argument(kind) else kind()
        made.model_dir = str(folder)
        if callable(getattr(made, "load", None)):
            loaded = made.load()
            if inspect.isawaitable(loaded):
                loaded = asyncio.run(_wait(loaded))
    except Exception as error:  # the user's class may raise anything
        raise ModelError(f"{word} does not load: {type(error).__name__}: {error}") from error
    if loaded_is_false(made):
        raise ModelError(f"{word} is not ready after load(); expected it to set self.ready")
    return CustomModel(made, predictor)


def loaded_is_false(made: Any) -> bool:
    """Tell whether an object that says whether it is ready says that it is not."""
    return getattr(made, "ready", True) is False


class CustomModel:
    """An object of the user's, as a model of payloads."""

    platform = "custom"

    def __init__(self, made: Any, predictor: Predictor | None = None) -> None:
        self._made, self._predictor = made, predictor
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="custom-model")
        self._calls = {
            name: _Call(method, self._thread)
            for name in ("preprocess", "predict", "postprocess", "explain")
            if callable(method := getattr(made, name, None))
        }

        if predictor is not None:
            self._calls["predict"] = _Call(predictor.predict, self._thread)

    async def predict(self, payload: Any, headers: Mapping[str, str]) -> Any:
        """Return what preprocess, predict and postprocess make of it, one after the other."""
        return await self._run("predict", payload, headers)

    async def explain(self, payload: Any, headers: Mapping[str, str]) -> Any:
        """Return what preprocess, explain and postprocess make of it."""
        if "explain" not in self._calls:
            raise NotImplementedError(f"{type(self._made).__name__} has no explain")
        return await self._run("explain", payload, headers)

    def close(self) -> None:
        """Call its `stop`, if it has one, and end its thread."""
        try:
            if callable(getattr(self._made, "stop", None)):
                self._made.stop()
        finally:
            self._thread.shutdown(wait=False)
            if self._predictor is not None:
                self._predictor.close()

    async def _run(self, verb: str, payload: Any, headers: Mapping[str, str]) -> Any:
        try:
            for name in ("preprocess", verb, "postprocess"):
                if name in self._calls:
                    payload = await self._calls[name](payload, headers)
        except Exception as error:
            if any(kind.__name__ == _INVALID_INPUT for kind in type(error).__mro__):
                raise InputError(str(error)) from error
            raise
        return payload


class _Call:
    """A method of the user's: awaited, or run in the thread; with headers where it takes them."""

    def __init__(self, method: Callable[..., Any], thread: ThreadPoolExecutor) -> None:
        self._method, self._thread = method, thread
        self._takes_headers = _count_arguments(method) >= 2
        self._is_asynchronous = inspect.iscoroutinefunction(method)

    async def __call__(self, payload: Any, headers: Mapping[str, str]) -> Any:
        arguments = (payload, dict(headers)) if self._takes_headers else (payload,)
        if self._is_asynchronous:
            return await self._method(*arguments)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._thread, partial(self._method, *arguments))
        return await result if inspect.isawaitable(result) else result


def _count_arguments(method: Callable[..., Any]) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(method).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return 2
    return sum(parameter.kind in kinds for parameter in parameters)


def _is_transformer(kind: Any) -> bool:
    """Tell whether a class leaves prediction to somebody else: it has no predict but KServe's own."""
    method = getattr(kind, "predict", None)
    return method is None or getattr(method, "__module__", "") == _UPSTREAM


def _takes_argument(kind: Callable[..., Any]) -> bool:
    return _count_arguments(kind) > 0


async def _wait(awaitable: Any) -> Any:
    return await awaitable
