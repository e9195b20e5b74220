"""What a format makes of a folder: one of four kinds of models, which the server answers requests with.

A format is a file here with `load(folder, options) -> Model`; formats/loading.py has the list. Loading raises
ModelError with words for people: what was looked for, what was found, what would work.

How requests become arrays, and arrays answers, is the same for all formats:
- V1 instances that are objects become an array a key, one element an instance; any others become one array, as
  numpy.array makes it of them, under the name of the model's first input.
- Of V2 each input is an array of its datatype and shape. Elements of BYTES are bytes or str.
- V1's predictions are the one output's rows; of several outputs, an object a row with a key an output.
- An array of objects has elements of str or bytes, or JSON's values: these are an answer of V1 as they are, and JSON's
  text as BYTES of V2.
- Rows of two requests are put into one call only where names, data types and all axes but the first are the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy

    Arrays = Mapping[str, numpy.ndarray[Any, Any]]


class ModelError(Exception):
    """A model cannot be loaded: why, and what would help."""


class ModelMissing(ModelError):
    """There is no model's file in the folder; it may be one of a folder a model."""


class InputError(ValueError):
    """A request's input does not fit the model: which, why, and what would. It is answered with 400."""


class TensorSpec(NamedTuple):
    """A tensor's name, V2 data type (FP32, INT64, BYTES, …) and shape; -1 is any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class LoadOptions(NamedTuple):
    """What the runtime was told. `settings` are the format's own, by name: flags without `--`, and `model_class`."""

    name: str
    threads: int = 1
    settings: Mapping[str, str] = {}


class Successor(Protocol):
    """What can make a better model of the same answers while another serves: that model's `successor`."""

    def make(self) -> TensorModel | None:
        """Return it, None where there is none to be had; called once, in a thread, and may take minutes."""

    def stop(self) -> None:
        """Have `make` come to its end: the model that it was for is closed."""


class TensorModel(Protocol):
    """Arrays in, arrays out. Called in a worker thread where that was slow before; never twice at once.

    It may have a `successor`, which takes its place while the server serves.
    """

    platform: str
    """As V2's metadata says it: sklearn, onnxruntime_onnx, …"""
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    is_batchable: bool
    """Rows of several requests may be put into one call: the first axis is the row in all inputs and outputs."""

    def predict(self, inputs: Arrays) -> Arrays:
        """Return the outputs; raise InputError where inputs do not fit."""

    def close(self) -> None:
        """Let go of what it holds."""


class PayloadModel(Protocol):
    """A custom Python class: decoded JSON in, JSON out, with the request's headers; may be asynchronous."""

    platform: str

    async def predict(self, payload: Any, headers: Mapping[str, str]) -> Any:
        """Return the answer's body."""

    async def explain(self, payload: Any, headers: Mapping[str, str]) -> Any:
        """Return the answer's body; raise NotImplementedError where it explains nothing."""

    def close(self) -> None:
        """Let go of what it holds."""


class TextModel(Protocol):
    """A model of language, behind OpenAI's routes."""

    platform: str

    def chat(self, request: Mapping[str, Any]) -> AsyncIterator[str]:
        """Yield pieces of the answer to the messages."""

    def complete(self, request: Mapping[str, Any]) -> AsyncIterator[str]:
        """Yield pieces of what goes on from the prompt."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a vector a text."""

    def close(self) -> None:
        """Let go of what it holds."""


class AsgiModel(Protocol):
    """An ASGI application (FastAPI, Starlette): it answers every path that is not the server's own."""

    platform: str
    app: Callable[..., Awaitable[None]]

    def close(self) -> None:
        """Let go of what it holds."""


Model = TensorModel | PayloadModel | TextModel | AsgiModel
Load = Callable[[Path, LoadOptions], Model]
