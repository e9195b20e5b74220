"""V2 over gRPC as a table: its service, its messages, and requests and answers as arrays.

Source: docs/predict-api/v2/grpc_predict_v2.proto of kserve/kserve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proa.ml.grpc.codec import Codec, Contract, Message
from proa.ml.serving.wire.refusals import bad_request
from proa.ml.serving.wire.tensors import check_shape, find_datatype, find_name, read_bytes, write_bytes
from proa.ml.serving.wire.v2 import MAX_TENSORS, InferRequest, Wanted, choose_outputs

if TYPE_CHECKING:
    from proa.ml.serving.wire.datatypes import Datatype
    from proa.ml.serving.wire.tensors import Array, Arrays

SERVICE = "inference.GRPCInferenceService"

_TENSOR = (
    "1 string name",
    "2 string datatype",
    "3 repeated int64 shape",
    "4 map InferParameter parameters",
    "5 InferTensorContents contents",
)
_MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("1 bool live",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("1 bool ready",),
    "ModelReadyRequest": ("1 string name", "2 string version"),
    "ModelReadyResponse": ("1 bool ready",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("1 string name", "2 string version", "3 repeated string extensions"),
    "ModelMetadataRequest": ("1 string name", "2 string version"),
    "ModelMetadataResponse": (
        "1 string name",
        "2 repeated string versions",
        "3 string platform",
        "4 repeated TensorMetadata inputs",
        "5 repeated TensorMetadata outputs",
    ),
    "TensorMetadata": ("1 string name", "2 string datatype", "3 repeated int64 shape"),
    "ModelInferRequest": (
        "1 string model_name",
        "2 string model_version",
        "3 string id",
        "4 map InferParameter parameters",
        "5 repeated Tensor inputs",
        "6 repeated RequestedOutput outputs",
        "7 repeated bytes raw_input_contents",
    ),
    "Tensor": _TENSOR,
    "RequestedOutput": ("1 string name", "2 map InferParameter parameters"),
    "ModelInferResponse": (
        "1 string model_name",
        "2 string model_version",
        "3 string id",
        "4 map InferParameter parameters",
        "5 repeated Tensor outputs",
        "6 repeated bytes raw_output_contents",
    ),
    "InferParameter": (
        "1 optional bool bool_param",
        "2 optional int64 int64_param",
        "3 optional string string_param",
    ),
    "InferTensorContents": (
        "1 repeated bool bool_contents",
        "2 repeated int32 int_contents",
        "3 repeated int64 int64_contents",
        "4 repeated uint32 uint_contents",
        "5 repeated uint64 uint64_contents",
        "6 repeated float fp32_contents",
        "7 repeated double fp64_contents",
        "8 repeated bytes bytes_contents",
    ),
    "RepositoryModelLoadRequest": ("1 string model_name",),
    "RepositoryModelLoadResponse": ("1 string model_name", "2 bool isLoaded"),
    "RepositoryModelUnloadRequest": ("1 string model_name",),
    "RepositoryModelUnloadResponse": ("1 string model_name", "2 bool isUnloaded"),
}
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
OPEN_INFERENCE = Contract(
    Codec(_MESSAGES, {}),
    {f"/{SERVICE}/{method}": (f"{method}Request", f"{method}Response") for method in METHODS},
)


def read_request(message: Message) -> InferRequest:
    """Return what a ModelInferRequest asks; raise Refused. Raw inputs are answered with raw outputs."""
    inputs, raw, model = message["inputs"], message["raw_input_contents"], message["model_name"]
    if raw and len(raw) != len(inputs):
        raise bad_request(
            f"the number of inputs ({len(inputs)}) does not match the expected number of "
            f"raw input contents ({len(raw)}) for model '{model}'."
        )
    if not inputs or len(inputs) > MAX_TENSORS:
        raise bad_request(f"inputs must have 1 to {MAX_TENSORS} tensors")
    arrays: dict[str, Array] = {}
    for number, tensor in enumerate(inputs):
        name = tensor["name"] or f"{number}"
        if name in arrays:
            raise bad_request(f"input {name}: there are two of this name")
        datatype = find_datatype(name, tensor["datatype"].upper())
        shape = check_shape(name, tensor["shape"])
        if raw and tensor["contents"] is not None:
            raise bad_request(
                "contents field must not be specified when using raw_input_contents "
                f"for input '{name}' for model '{model}'"
            )
        if raw:
            arrays[name] = read_bytes(name, datatype, shape, raw[number])
        else:
            arrays[name] = _read_contents(name, datatype, shape, tensor["contents"] or {})
    wanted = [Wanted(output["name"], None) for output in message["outputs"]]
    return InferRequest(message["id"], arrays, wanted, bool(raw), read_parameters(message["parameters"]))


def write_response(model: str, version: str, outputs: Arrays, request: InferRequest) -> Message:
    """Return the ModelInferResponse; raise Refused."""
    chosen = list(choose_outputs(outputs, request.outputs))
    is_raw = request.is_binary or any(find_name(array) == "FP16" for _, array in chosen)
    tensors, raw = [], []
    for name, array in chosen:
        datatype = find_name(array)
        tensor: Message = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if is_raw:
            raw.append(write_bytes(array))
        else:
            tensor["contents"] = _write_contents(name, datatype, array)
        tensors.append(tensor)
    return {
        "model_name": model,
        "model_version": version,
        "id": request.id,
        "outputs": tensors,
        "raw_output_contents": raw,
    }


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON has them."""
    found = {}
    for name, value in parameters.items():
        chosen = [one for one in (value or {}).values() if one is not None]
        found[name] = chosen[0] if chosen else None
    return found


def _read_contents(name: str, datatype: Datatype, shape: list[int], contents: Message) -> Array:
    """Return the array of a tensor's typed contents; raise Refused."""
    import numpy

    if not datatype.contents:
        raise bad_request(f"input {name}: {datatype.name} comes as raw_input_contents")
    items = contents.get(datatype.contents) or []
    others = [field for field, value in contents.items() if value and field != datatype.contents]
    if others:
        raise bad_request(f"input {name}: {datatype.name} is in {datatype.contents}, not in {others[0]}")
    expected = 1
    for size in shape:
        expected *= size
    if len(items) != expected:
        raise bad_request(
            f"input {name}: shape {shape} is of {expected} elements, {datatype.contents} has {len(items)}"
        )
    if datatype.size == 0:
        array: Array = numpy.empty(len(items), dtype=object)
        array[:] = items
        return array.reshape(shape)
    try:
        return numpy.array(items, dtype=datatype.numpy).reshape(shape)
    except OverflowError:
        raise bad_request(f"input {name}: an element is too large for {datatype.name}") from None


def _write_contents(name: str, datatype: str, array: Array) -> Message:
    found = find_datatype(name, datatype)
    if datatype != "BYTES":
        return {found.contents: array.ravel().tolist()}
    items = array.ravel().tolist()
    return {"bytes_contents": [item if isinstance(item, bytes) else str(item).encode() for item in items]}
