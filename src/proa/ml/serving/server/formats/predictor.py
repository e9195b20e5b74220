"""The predictor that a transformer's class stands before: what `preprocess` returned goes there, its answer comes back.

`--predictor_host` (host or host:port), `--predictor_protocol` (v1, v2) and `--predictor_request_timeout_seconds` are
upstream's flags; the operator sets the first. By V2 the data of an input may be a numpy array: it goes as bytes, and
the outputs come back as arrays.

Source: KServe's python/kserve/kserve/model.py (predict, and which headers go on).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from proa.ml.serving.server.formats import settings
from proa.ml.serving.server.formats.protocol import LoadOptions, ModelError
from proa.ml.serving.wire.datatypes import DATATYPES
from proa.ml.serving.wire.http1_asking import Answer, AskError, ask
from proa.ml.serving.wire.http1_pool import Pool
from proa.ml.serving.wire.refusals import Refused
from proa.ml.serving.wire.tensors import find_name, read_bytes, write_bytes

_FORWARDED = ("x-request-id", "x-b3-traceid", "authorization")
_LENGTH = "inference-header-content-length"
_SECONDS = 600
_LARGEST_BYTES = 256 << 20


def find_predictor(options: LoadOptions) -> Predictor | None:
    """Return the predictor that the settings name, None where there is none."""
    place = options.settings.get("predictor_host")
    if not place:
        return None
    host, _, port = place.partition(":")
    if port and not port.isdecimal():
        raise ModelError(f"--predictor_host={place}: expected a host, or host:port")
    protocol = options.settings.get("predictor_protocol", "v1").lower()
    if protocol not in ("v1", "v2"):
        raise ModelError(f"--predictor_protocol={protocol}: expected v1 or v2")
    seconds = settings.find_number(options.settings, "predictor_request_timeout_seconds") or _SECONDS
    return Predictor(host, int(port or 80), options.name, protocol, seconds)


class Predictor:
    """A model server somewhere else."""

    def __init__(self, host: str, port: int, name: str, protocol: str, seconds: float) -> None:
        self._host, self._port, self._seconds = host, port, seconds
        self._is_v2 = protocol == "v2"
        name = quote(name, safe="")
        self._path = f"/v2/models/{name}/infer" if self._is_v2 else f"/v1/models/{name}:predict"
        self._pool: Pool | None = None

    async def predict(self, payload: Any, headers: Mapping[str, str]) -> Any:
        """Return the answer's JSON, outputs that came as bytes as arrays; raise Refused with what it refused with."""
        if self._pool is None:
            self._pool = Pool(self._host, self._port)
        forwarded = {name: value for name, value in headers.items() if name.lower() in _FORWARDED}
        body, more = _write(payload) if self._is_v2 else (_dump(payload), {})
        told = {"content-type": "application/json", **forwarded, **more}
        try:
            answer = await ask(
                self._pool, "POST", self._path, told, body, seconds=self._seconds, max_bytes=_LARGEST_BYTES
            )
        except AskError as error:
            raise Refused(504 if error.is_late else 503, f"predictor {self._host}: {error}") from error
        if answer.status != 200:
            raise Refused(answer.status, f"predictor {self._host}: {_find_reason(answer)}")
        return _read(answer)

    def close(self) -> None:
        """Close its connections."""
        if self._pool is not None:
            self._pool.close()


def _write(payload: Any) -> tuple[bytes, dict[str, str]]:
    """Return a V2 request's body and headers, arrays as bytes after the JSON."""
    pieces: list[bytes] = []
    inputs = [_write_input(one, pieces) for one in payload["inputs"]]
    if not pieces:
        return _dump({**payload, "inputs": inputs}), {}
    parameters = {**payload.get("parameters", {}), "binary_data_output": True}
    head = _dump({**payload, "inputs": inputs, "parameters": parameters})
    return b"".join([head, *pieces]), {"content-type": "application/octet-stream", _LENGTH: str(len(head))}


def _write_input(given: Mapping[str, Any], pieces: list[bytes]) -> Mapping[str, Any]:
    array: Any = given.get("data")
    if not hasattr(array, "dtype"):
        return given
    data = write_bytes(array)
    pieces.append(data)
    kept = {key: value for key, value in given.items() if key != "data"}
    about = {"shape": list(array.shape), "datatype": find_name(array)}
    return {**about, **kept, "parameters": {**given.get("parameters", {}), "binary_data_size": len(data)}}


def _read(answer: Answer) -> Any:
    length = answer.header(_LENGTH.encode())
    if not length:
        return orjson.loads(answer.body)
    document = orjson.loads(answer.body[: int(length)])
    place = int(length)
    for output in document["outputs"]:
        size = output.get("parameters", {}).pop("binary_data_size", None)
        if size is not None:
            data = answer.body[place : place + size]
            output["data"] = read_bytes(output["name"], DATATYPES[output["datatype"]], output["shape"], data)
            place += size
    return document


def _dump(payload: Any) -> bytes:
    return orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)


def _find_reason(answer: Answer) -> str:
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return answer.body[:500].decode(errors="replace")
    return str(found.get("error", found) if isinstance(found, dict) else found)[:500]
