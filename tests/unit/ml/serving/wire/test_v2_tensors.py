"""V2's tensors: all types both ways, and each way to get one wrong, with the words that it is answered with."""

import numpy
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.serving.wire import v2
from proa.ml.serving.wire.datatypes import DATATYPES
from proa.ml.serving.wire.refusals import Refused
from proa.ml.serving.wire.tensors import read_bytes, read_list, write_bytes

HUGE = 10**18


def read(*inputs: dict, tail: bytes = b"", length: str | None = None, **more: object) -> v2.InferRequest:
    head = orjson.dumps({"inputs": list(inputs), **more})
    if tail and length is None:
        length = str(len(head))
    return v2.read_request(head + tail, length)


def one(data: object, datatype: object = "FP32", shape: object = None, **more: object) -> dict:
    found = list(numpy.shape(data)) if shape is None else shape
    return {"name": "x", "shape": found, "datatype": datatype, "data": data, **more}


def raw(size: int, datatype: str, shape: list[int]) -> dict:
    return {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


def outcome(read, *arguments):
    """Return an array, or why there is none."""
    try:
        return read("x", *arguments)
    except Refused as refused:
        return refused


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("BOOL", [True, False]),
        ("INT8", [-128, 127]),
        ("INT16", [-32768, 32767]),
        ("INT32", [-(2**31), 2**31 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT8", [0, 255]),
        ("UINT16", [0, 65535]),
        ("UINT32", [0, 2**32 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("FP32", [0.5, -2.0]),
        ("FP64", [0.1, 1e300]),
        ("BYTES", ["a", "é"]),
    ],
)
def test_all_types_come_as_lists_and_go_as_lists(datatype, data):
    request = read(one(data, datatype))
    array = request.inputs["x"]
    assert array.dtype == numpy.dtype(DATATYPES[datatype].numpy)
    body, length = v2.write_response("m", "", "1", {"y": array}, request)
    assert not length
    output = orjson.loads(body)["outputs"][0]
    assert (output["datatype"], output["shape"], output["data"]) == (datatype, [2], data)


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BYTES"])
def test_all_types_come_as_bytes_and_go_as_bytes(datatype):
    array = numpy.array([[0, 1, 1], [1, 0, 1]]).astype(DATATYPES[datatype].numpy)
    request = read(
        raw(array.nbytes, datatype, [2, 3]), tail=array.tobytes(), parameters={"binary_data_output": True}
    )
    assert (request.inputs["x"] == array).all()
    body, length = v2.write_response("m", "", "1", {"y": array}, request)
    head = orjson.loads(body[:length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": array.nbytes}
    assert body[length:] == array.tobytes()


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_byte_strings_are_what_they_were(items):
    array = numpy.empty(len(items), dtype=object)
    array[:] = items
    assert read_bytes("x", DATATYPES["BYTES"], [len(items)], write_bytes(array)).tolist() == items


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=9),
       st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(0, 9), max_size=3))  # fmt: skip
def test_any_data_is_an_array_of_the_shape_or_refused(data, datatype, shape):
    found = outcome(read_list, DATATYPES[datatype], shape, data)
    if isinstance(found, Refused):
        assert (found.status, found.message[:7]) == (400, "input x")
    else:
        assert (list(found.shape), found.dtype) == (shape, numpy.dtype(DATATYPES[datatype].numpy))


@given(
    st.binary(max_size=60), st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(0, 2**40), max_size=4)
)
def test_any_bytes_are_an_array_of_the_shape_or_refused(data, datatype, shape):
    found = outcome(read_bytes, DATATYPES[datatype], shape, data)
    if isinstance(found, Refused):
        assert (found.status, found.message[:7]) == (400, "input x")
    else:
        assert list(found.shape) == shape


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (one([1.0], shape=[2]), "input x: shape [2] is of 2 elements, data has 1"),
        (one([1.0], shape=[-1]), "input x: shape has -1: a size is a number from 0 on"),
        (one([1.0], shape=[1.5]), "input x: shape has 1.5"),
        (one([1.0], shape=[True]), "input x: shape has True"),
        (one([1.0], shape=["1"]), "input x: shape has '1'"),
        (one([1.0], shape=[HUGE] * 30), "input x: shape [1000000000000000000, "),
        (one([1.0], shape=[1] * 33), "input x: shape must be a list of up to 32 sizes"),
        (one([1.0], shape="1"), "input x: shape must be a list"),
        ({"name": "x", "datatype": "FP32", "data": [1]}, "input x: shape must be a list"),
        (one([1.0], "FP31"), "input x: datatype 'FP31' is none of BOOL, INT8"),
        (one([1.0], 7), "input x: datatype 7 is none of"),
        (one([1.0], None), "input x: datatype None is none of"),
        (one(["1.5"]), "input x: data has a text, which is no FP32"),
        (one(["NaN"]), "input x: data has a text, which is no FP32"),
        (one(["nan", 1.0], shape=[2]), "input x: data has a text, which is no FP32"),
        (one([None], shape=[1]), "input x: data has null, an object, or a number that is too large"),
        (one([{}], shape=[1]), "input x: data has null, an object"),
        (one([True]), "input x: data has true or false, which is no FP32"),
        (one([1], "BOOL"), "input x: data has a number, which is no BOOL"),
        (one(["true"], "BOOL"), "input x: data has a text, which is no BOOL"),
        (one([1.5], "INT64"), "input x: data has a fraction, which is no INT64"),
        (one([128], "INT8"), "input x: data has 128: INT8 is from -128 to 127"),
        (one([-1], "UINT8"), "input x: data has -1: UINT8 is from 0 to 255"),
        (one([2**63], "INT64", [1]), "input x: data has 9223372036854775808: INT64 is from"),
        (one([1e39]), "input x: data has a number that is too large for FP32"),
        (one([[1, 2], [3]], shape=[3]), "input x: the lists of data have different lengths"),
        (one([[[1], 2]], shape=[2]), "input x: the lists of data have different lengths"),
        (one([1], "BYTES"), "input x: data has 1: BYTES in JSON are texts"),
        (one([["a"], "b"], "BYTES", [2]), "input x"),
        (one([None], "BYTES", [1]), "input x: data has None: BYTES in JSON are texts"),
        (one("abc", shape=[3]), "input x: data must be a list"),
        (one({"a": 1}, shape=[1]), "input x: data must be a list"),
        (one([0.5], "FP16"), "Please use the binary data format for input x"),
        ({"name": "x", "shape": [1], "datatype": "FP32"}, "neither data nor parameters.binary_data_size"),
        (raw(-1, "FP32", [1]), "input x: binary_data_size must be a number of bytes"),
        (raw("4", "FP32", [1]), "input x: binary_data_size must be a number of bytes"),
        (raw(4, "FP32", [1]), "input x: binary_data_size is 4, 0 bytes are left"),
        ({**raw(4, "FP32", [1]), "parameters": []}, "input x: parameters must be an object"),
        ({"shape": [1], "datatype": "FP32", "data": [1]}, "inputs[0]: name must be a text"),
        ({"name": 5, "shape": [1], "datatype": "FP32", "data": [1]}, "inputs[0]: name must be a text"),
        ([], "inputs[0] must be an object"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_none_is_refused_and_the_words_say_why(tensor, words):
    with pytest.raises(Refused) as refused:
        read(tensor)
    assert refused.value.status == 400
    assert words in refused.value.message
    assert len(refused.value.message) < 1000


@pytest.mark.parametrize(
    ("datatype", "shape", "tail", "words"),
    [
        ("FP32", [2], b"1234", "input x: FP32 of shape [2] has 8 bytes, not 4"),
        ("FP16", [1], b"1234", "input x: FP16 of shape [1] has 2 bytes, not 4"),
        ("INT64", [HUGE, HUGE], b"12345678", "input x: INT64 of shape"),
        ("BYTES", [1], b"\x04\0\0\0ab", "input x: its bytes end within element 0"),
        ("BYTES", [1], b"\x04\0", "input x: its bytes end within element 0"),
        ("BYTES", [2], b"\x01\0\0\0a", "input x: shape [2] is of 2 elements, data has 1"),
        ("BYTES", [1], b"\xff\xff\xff\xff", "input x: its bytes end within element 0"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused(datatype, shape, tail, words):
    with pytest.raises(Refused, match="input x") as refused:
        read(raw(len(tail), datatype, shape), tail=tail)
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("body", "length", "words"),
    [
        (b"{", None, "Unrecognized request format"),
        (b'{"inputs": [NaN]}', None, "Unrecognized request format"),
        (b"\xff\xfe", None, "Unrecognized request format"),
        (b"[" * 2000, None, "Unrecognized request format"),
        (b"[]", None, "the body must be an object"),
        (b"{}", None, '"inputs" must be a list of at least one tensor'),
        (b'{"inputs": {}}', None, '"inputs" must be a list of at least one tensor'),
        (b'{"inputs": []}', None, '"inputs" must be a list of at least one tensor'),
        (b'{"id": 5, "inputs": []}', None, "id must be a text"),
        (b'{"parameters": 5, "inputs": []}', None, "parameters must be an object"),
        (b"{}", "x", "Inference-Header-Content-Length: 'x' is no length"),
        (b"{}", "-1", "Inference-Header-Content-Length: '-1' is no length"),
        (b"{}", "3", "Inference-Header-Content-Length: '3' is no length of JSON in a body of 2 bytes"),
        (b"{}", "1", "Unrecognized request format"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body, length, words):
    with pytest.raises(Refused) as refused:
        v2.read_request(body, length)
    assert words in refused.value.message


def test_what_is_left_or_said_twice_is_refused():
    with pytest.raises(Refused, match="3 bytes follow the last input"):
        read(raw(4, "FP32", [1]), tail=b"1234567")
    with pytest.raises(Refused, match="input x: there are two of this name"):
        read(one([1.0]), one([2.0]))
    with pytest.raises(Refused, match='"outputs" must be a list'):
        read(one([1.0]), outputs="y")
    with pytest.raises(Refused, match=r"outputs\[0\]: name must be a text"):
        read(one([1.0]), outputs=[{}])
    with pytest.raises(Refused, match="output y: binary_data must be true or false"):
        read(one([1.0]), outputs=[{"name": "y", "parameters": {"binary_data": 1}}])
    with pytest.raises(Refused, match="binary_data_output must be true or false"):
        read(one([1.0]), parameters={"binary_data_output": "yes"})


def test_only_what_is_asked_for_is_answered_each_in_its_form():
    arrays = {"a": numpy.array([1, 2]), "b": numpy.array([0.5])}
    wanted = [{"name": "b", "parameters": {"binary_data": True}}]
    request = read(one([1.0]), outputs=wanted)
    body, length = v2.write_response("m", "3", "1", arrays, request)
    head = orjson.loads(body[:length])
    assert [output["name"] for output in head["outputs"]] == ["b"]
    assert (head["model_version"], body[length:]) == ("3", numpy.array([0.5]).tobytes())
    with pytest.raises(Refused, match="output c: the model has a, b"):
        v2.write_response("m", "", "1", arrays, read(one([1.0]), outputs=[{"name": "c"}]))
    with pytest.raises(Refused, match="Please use the binary data format for output h"):
        v2.write_response("m", "", "1", {"h": numpy.array([1], "f2")}, read(one([1.0])))
    with pytest.raises(Refused, match="not UTF-8: ask for binary_data"):
        v2.write_response("m", "", "1", {"t": numpy.array([b"\xff"], object)}, read(one([1.0])))
