"""V2 of the Open Inference Protocol over REST: what is asked, and the answer, as JSON with tensors' bytes behind it.

Source: docs/predict-api/v2/required_api.md of kserve/kserve; the binary tensor data extension of Triton; words of
errors as python/kserve/kserve/protocol/infer_type.py has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from proa.ml.serving.wire.refusals import bad_request
from proa.ml.serving.wire.tensors import (
    check_shape,
    find_datatype,
    find_name,
    read_bytes,
    read_list,
    write_bytes,
    write_texts,
)

if TYPE_CHECKING:
    from proa.ml.serving.wire.tensors import Array, Arrays

MAX_TENSORS = 1000
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
Json = dict[str, Any]


class Wanted(NamedTuple):
    """An output that is asked for; `is_binary` None where the request says nothing of it."""

    name: str
    is_binary: bool | None


class InferRequest(NamedTuple):
    """What a model is asked."""

    id: str
    inputs: dict[str, Array]
    outputs: Sequence[Wanted]
    """None of them: all."""
    is_binary: bool
    parameters: Mapping[str, Any]


def read_json(body: bytes) -> Any:
    """Return a body's JSON; raise Refused, in KServe's words."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"Unrecognized request format: {error}") from None


def read_request(body: bytes, json_length: str | None) -> InferRequest:
    """Return what a body asks; `json_length` is the header that says where its JSON ends, if there is one."""
    binary: bytes | None = None
    if json_length is not None:
        if not json_length.isascii() or not json_length.isdigit() or int(json_length) > len(body):
            raise bad_request(
                f"{JSON_LENGTH_HEADER}: {json_length[:40]!r} is no length of JSON in a body of {len(body)} bytes"
            )
        body, binary = body[: int(json_length)], body[int(json_length) :]
    return read_document(read_json(body), binary)


def read_document(document: Any, binary: bytes | None = None) -> InferRequest:
    """Return what decoded JSON asks, with the bytes that follow it; raise Refused."""
    if type(document) is not dict:
        raise bad_request('the body must be an object with "inputs"')
    parameters = _read_parameters("parameters", document.get("parameters"))
    request_id = document.get("id")
    if request_id is not None and type(request_id) is not str:
        raise bad_request("id must be a text")
    inputs, left = _read_inputs(document.get("inputs"), binary or b"")
    if left:
        raise bad_request(
            f"{left} bytes follow the last input: binary_data_size of the inputs must say whose they are"
        )
    is_binary = parameters.get("binary_data_output", False)
    if type(is_binary) is not bool:
        raise bad_request("parameters.binary_data_output must be true or false")
    wanted = _read_outputs(document.get("outputs"))
    return InferRequest(request_id or "", inputs, wanted, is_binary, parameters)


def choose_outputs(outputs: Arrays, wanted: Sequence[Wanted]) -> Iterable[tuple[str, Array]]:
    """Return what is asked for of a model's outputs; raise Refused."""
    if not wanted:
        return outputs.items()
    for one in wanted:
        if one.name not in outputs:
            raise bad_request(f"output {one.name}: the model has {', '.join(outputs)}")
    return [(one.name, outputs[one.name]) for one in wanted]


def write_response(
    model: str, version: str, request_id: str, outputs: Arrays, request: InferRequest
) -> tuple[bytes, int]:
    """Return the body, and the length of its JSON where bytes follow it (else 0); raise Refused."""
    is_binary = {one.name: one.is_binary for one in request.outputs if one.is_binary is not None}
    documents, tail = [], []
    for name, array in choose_outputs(outputs, request.outputs):
        datatype = find_name(array)
        document: Json = {"name": name, "shape": array.shape, "datatype": datatype}
        if is_binary.get(name, request.is_binary):
            data = write_bytes(array)
            document["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        elif datatype == "BYTES":
            document["data"] = write_texts(array)
        elif datatype == "FP16":
            raise bad_request(
                "Sending FP16 data via JSON is not supported. "
                f"Please use the binary data format for output {name}"
            )
        else:
            document["data"] = array.ravel()
        documents.append(document)
    head: Json = {"model_name": model, "id": request_id, "outputs": documents}
    if version:
        head["model_version"] = version
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *tail]), len(text)) if tail else (text, 0)


def write_document(document: Json, arrays: Arrays) -> Json:
    """Return a request's JSON with its tensors as lists: what a custom class is given."""
    inputs = [
        {
            **{key: value for key, value in one.items() if key != "parameters"},
            "data": write_texts(array) if array.dtype.kind in "USO" else array.ravel().tolist(),
        }
        for one, array in zip(document["inputs"], arrays.values(), strict=True)
    ]
    return {**document, "inputs": inputs}


def _read_inputs(inputs: object, binary: bytes) -> tuple[dict[str, Array], int]:
    """Return the inputs, and how many of the bytes are none of them."""
    if type(inputs) is not list or not inputs:
        raise bad_request('"inputs" must be a list of at least one tensor')
    if len(inputs) > MAX_TENSORS:
        raise bad_request(f'"inputs" has {len(inputs)} tensors: up to {MAX_TENSORS} are taken')
    arrays: dict[str, Array] = {}
    place = 0
    for number, tensor in enumerate(inputs):
        if type(tensor) is not dict:
            raise bad_request(f"inputs[{number}] must be an object with name, datatype, shape and data")
        name = _read_name(f"inputs[{number}]", tensor.get("name"))
        if name in arrays:
            raise bad_request(f"input {name}: there are two of this name")
        datatype = find_datatype(name, tensor.get("datatype"))
        shape = check_shape(name, tensor.get("shape"))
        data = tensor.get("data")
        if data is not None:
            if datatype.name == "FP16":
                raise bad_request(
                    "Receiving FP16 data via JSON is not supported. "
                    f"Please use the binary data format for input {name}"
                )
            arrays[name] = read_list(name, datatype, shape, data)
        else:
            size = _read_size(name, tensor.get("parameters"))
            if place + size > len(binary):
                raise bad_request(
                    f"input {name}: binary_data_size is {size}, {len(binary) - place} bytes are left"
                )
            arrays[name] = read_bytes(name, datatype, shape, memoryview(binary)[place : place + size])
            place += size
    return arrays, len(binary) - place


def _read_size(name: str, parameters: object) -> int:
    found = _read_parameters(f"input {name}: parameters", parameters)
    size = found.get("binary_data_size")
    if size is None:
        raise bad_request(f"input {name}: there is neither data nor parameters.binary_data_size")
    if type(size) is not int or size < 0:
        raise bad_request(f"input {name}: binary_data_size must be a number of bytes")
    return size


def _read_outputs(outputs: object) -> list[Wanted]:
    if outputs is None:
        return []
    if type(outputs) is not list or len(outputs) > MAX_TENSORS:
        raise bad_request(f'"outputs" must be a list of up to {MAX_TENSORS} objects with a name')
    wanted = []
    for number, one in enumerate(outputs):
        if type(one) is not dict:
            raise bad_request(f"outputs[{number}] must be an object with a name")
        name = _read_name(f"outputs[{number}]", one.get("name"))
        is_binary = _read_parameters(f"output {name}: parameters", one.get("parameters")).get("binary_data")
        if is_binary is not None and type(is_binary) is not bool:
            raise bad_request(f"output {name}: binary_data must be true or false")
        wanted.append(Wanted(name, is_binary))
    return wanted


def _read_name(where: str, name: object) -> str:
    if type(name) is not str or not name:
        raise bad_request(f"{where}: name must be a text")
    return name


def _read_parameters(where: str, parameters: object) -> Json:
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise bad_request(f"{where} must be an object")
    return parameters
