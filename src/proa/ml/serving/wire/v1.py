"""V1: `{"instances": […]}` is asked, `{"predictions": […]}` answered; also `inputs`, by column.

Source: docs/predict-api/v1 and python/kserve/kserve/utils/utils.py of kserve/kserve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from proa.ml.serving.wire.refusals import Refused, bad_request
from proa.ml.serving.wire.tensors import read_instances, write_list, write_rows

if TYPE_CHECKING:
    from proa.ml.serving.wire.tensors import Array, Arrays


def find_instances(document: Any) -> list[Any]:
    """Return the instances of a request's JSON; raise Refused."""
    if type(document) is not dict:
        raise bad_request('the body must be an object with "instances"')
    key = "inputs" if "inputs" in document else "instances"
    instances = document.get(key)
    if key not in document:
        raise bad_request('Expected "instances" in the request: {"instances": [...]}')
    if type(instances) is not list:
        raise bad_request(f'Expected "{key}" to be a list')
    return instances


def read_arrays(document: Any, name: str) -> dict[str, Array]:
    """Return the arrays of V1's instances: one under `name`, or one a key where they are objects; raise Refused."""
    instances = find_instances(document)
    if instances and type(instances[0]) is dict:
        return _read_objects(instances)
    if instances and type(instances[0]) is list and instances[0] and type(instances[0][0]) is dict:
        return _read_objects(
            [one for batch in instances for one in (batch if type(batch) is list else [batch])]
        )
    return {name: read_instances(f"input {name}", instances)}


def write_response(outputs: Arrays) -> bytes:
    """Return the answer's body: the one output's rows, or an object a row of several; raise Refused."""
    if len(outputs) == 1:
        [array] = outputs.values()
        predictions = write_list(array)
    else:
        columns = {name: write_rows(array) for name, array in outputs.items()}
        rows = {len(array) for array in outputs.values() if array.ndim}
        if len(rows) != 1:
            raise Refused(500, "the model's outputs have different numbers of rows: ask by V2")
        predictions = [{name: column[row] for name, column in columns.items()} for row in range(rows.pop())]
    return orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)


def _read_objects(instances: list[Any]) -> dict[str, Array]:
    keys = instances[0].keys()
    for number, one in enumerate(instances):
        if type(one) is not dict or one.keys() != keys:
            lacking = sorted(keys - one.keys()) if type(one) is dict else []
            extra = sorted(one.keys() - keys) if type(one) is dict else []
            words = f"it lacks {', '.join(lacking)}" if lacking else f"it has {', '.join(extra) or 'no keys'}"
            raise bad_request(f"instances[{number}] is not like the first: {words}")
    return {key: read_instances(f"input {key}", [one[key] for one in instances]) for key in keys}
