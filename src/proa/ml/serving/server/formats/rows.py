"""Make what libraries predict for out of a request's arrays: a matrix, texts, or a table with named columns.

Source: KServe's get_predict_input (python/kserve/kserve/utils/utils.py): one input is an array whatever its name,
objects by name are a table. Here columns are put in the order that the model was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from proa.ml.serving.server.formats.protocol import InputError

if TYPE_CHECKING:
    from proa.ml.serving.server.formats.protocol import Arrays

INPUT, OUTPUT = "input-0", "output-0"
"""Names of what has none in a library; the second is upstream's."""


def make_rows(inputs: Arrays, columns: Sequence[str] = ()) -> Any:
    """Return an array, a list of texts (of one input of one axis), or of inputs by column a table.

    `columns` are those that the model was trained with, in order, where it knows them.
    """
    if not is_by_column(inputs, columns):
        return _make_array(next(iter(inputs.values())))
    taken = _take_columns(inputs, columns)
    try:
        import pandas
    except ModuleNotFoundError:
        return _stack(taken)
    return pandas.DataFrame(taken)


def make_matrix(inputs: Arrays, columns: Sequence[str] = ()) -> Any:
    """Return a matrix, a row an instance, of one input or of inputs by column."""
    if is_by_column(inputs, columns):
        return _stack(_take_columns(inputs, columns))
    array = next(iter(inputs.values()))
    return array.reshape(-1, 1) if array.ndim == 1 else array


def is_by_column(inputs: Arrays, columns: Sequence[str]) -> bool:
    """Tell whether each input is a column, not the one input all the rows."""
    if not inputs:
        raise InputError("there is no input; expected at least one")
    if len(inputs) > 1:
        return True
    name, array = next(iter(inputs.items()))
    return name in columns and (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1))


def decode_texts(array: Any) -> Any:
    """Return an array of objects with bytes as str; any other array as it is."""
    if array.dtype.kind == "S":
        array = array.astype(object)
    if array.dtype.kind != "O":
        return array
    import numpy

    try:
        texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    except UnicodeDecodeError as error:
        raise InputError(
            f"an element of BYTES is not UTF-8 ({error.reason}); this model takes text"
        ) from error
    decoded = numpy.empty(array.size, dtype=object)
    decoded[:] = texts
    return decoded.reshape(array.shape)


def check_width(rows: Any, width: int, columns: Sequence[str] = ()) -> None:
    """Raise InputError where rows have not as many features as the model was trained with."""
    shape = getattr(rows, "shape", None)
    if shape is None or not width or (len(shape) == 2 and shape[1] == width):
        return
    names = f" ({', '.join(columns[:8])}{', …' if len(columns) > 8 else ''})" if len(columns) else ""
    raise InputError(
        f"input of shape {list(shape)} does not fit the model: expected [rows, {width}], "
        f"a row of {width} features{names} an instance"
    )


def _make_array(array: Any) -> Any:
    array = decode_texts(array)
    if array.dtype.kind in "OU" and array.ndim == 1 and all(isinstance(item, str) for item in array):
        return array.tolist()
    return array


def _take_columns(inputs: Arrays, columns: Sequence[str]) -> dict[str, Any]:
    wanted = list(columns) if len(columns) else list(inputs)
    missing = [name for name in wanted if name not in inputs]
    if missing:
        raise InputError(
            f"missing columns: {', '.join(missing[:8])}{', …' if len(missing) > 8 else ''}; "
            f"the request has {', '.join(list(inputs)[:8])}"
        )
    taken: dict[str, Any] = {}
    for name in wanted:
        array = inputs[name]
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise InputError(f"column {name} has shape {list(array.shape)}; expected [rows] or [rows, 1]")
        taken[name] = decode_texts(array)
    lengths = {name: len(array) for name, array in taken.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:8])
        raise InputError(f"columns have different numbers of rows: {told}")
    return taken


def _stack(columns: dict[str, Any]) -> Any:
    import numpy

    if any(array.dtype.kind in "OSU" for array in columns.values()):
        mixed = numpy.empty((len(next(iter(columns.values()))), len(columns)), dtype=object)
        for number, array in enumerate(columns.values()):
            mixed[:, number] = array
        return mixed
    return numpy.column_stack(list(columns.values()))
