"""Katib's messages as bytes and back, by themselves and against protobuf with upstream's definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.grpc.codec import Codec, Malformed
from proa.ml.tuning.grpc.messages import CODEC

SMALL = Codec(
    {
        "Point": ("1 string name", "3 double value", "4 Kind kind", "16 int32 step"),
        "Path": ("1 repeated Point points", "2 repeated int32 sizes", "3 map string labels", "5 Point end",
                 "6 repeated double weights"),
    },
    {"Kind": ("NONE", "GOOD", "BAD")},
)  # fmt: skip

int32s = st.integers(-(2**31), 2**31 - 1)
points = st.fixed_dictionaries(
    {
        "name": st.text(),
        "value": st.floats(allow_nan=False).filter(lambda value: str(value) != "-0.0"),
        "kind": st.sampled_from(["NONE", "GOOD", "BAD"]),
        "step": int32s,
    }
)
paths = st.fixed_dictionaries(
    {
        "points": st.lists(points, max_size=3),
        "sizes": st.lists(int32s, max_size=3),
        "labels": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        "end": st.none() | points,
        "weights": st.lists(st.floats(allow_nan=False), max_size=3),
    }
)


WIDE = Codec(
    {
        "Wide": ("1 int64 a", "2 uint64 b", "3 uint32 c", "4 bool d", "5 bytes e", "6 float f", "7 repeated int64 g",
                 "8 repeated bool h", "9 repeated bytes i", "10 repeated float j", "11 map Choice k",
                 "12 repeated uint64 l"),
        "Choice": ("1 optional bool yes", "2 optional int64 number", "3 optional string text"),
    },
    {},
)  # fmt: skip
int64s, uint64s = st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)
float32s = st.floats(allow_nan=False, width=32).filter(lambda value: str(value) != "-0.0")
choices = st.fixed_dictionaries(
    {"yes": st.none() | st.booleans(), "number": st.none() | int64s, "text": st.none() | st.text()}
)
wide = st.fixed_dictionaries(
    {
        "a": int64s, "b": uint64s, "c": st.integers(0, 2**32 - 1), "d": st.booleans(), "e": st.binary(),
        "f": float32s, "g": st.lists(int64s, max_size=3), "h": st.lists(st.booleans(), max_size=3),
        "i": st.lists(st.binary(), max_size=3), "j": st.lists(float32s, max_size=3),
        "k": st.dictionaries(st.text(max_size=3), choices, max_size=3), "l": st.lists(uint64s, max_size=3),
    }
)  # fmt: skip


@given(wide)
def test_all_types_of_numbers_bytes_and_maps_of_messages_are_decoded_as_they_were(message):
    assert WIDE.decode("Wide", WIDE.encode("Wide", message)) == message


@given(paths)
def test_what_was_encoded_is_decoded(path):
    assert SMALL.decode("Path", SMALL.encode("Path", path)) == path


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"name": "a", "value": 1.0}, "0a016119000000000000f03f"),
        ({"kind": "BAD", "step": 300}, "2002" + "8001ac02"),
        ({"step": -1}, "8001" + "ffffffffffffffffff01"),
        ({"name": "", "value": 0.0, "kind": "NONE", "step": 0}, ""),
    ],
    ids=["string and double", "enum and number", "negative", "nothing is set"],
)
def test_bytes_are_protobufs(message, expected):
    assert SMALL.encode("Point", message).hex() == expected


def test_an_empty_message_is_there_and_one_that_is_missing_is_not():
    assert SMALL.decode("Path", SMALL.encode("Path", {"end": {}}))["end"] is not None
    assert SMALL.decode("Path", b"")["end"] is None


def test_numbers_may_be_packed_or_not():
    assert SMALL.decode("Path", bytes.fromhex("1005100a"))["sizes"] == [5, 10]
    assert SMALL.decode("Path", bytes.fromhex("1202050a"))["sizes"] == [5, 10]


def test_fields_and_enum_values_to_come_are_skipped():
    unknown = bytes.fromhex("7a0161" + "79" + "00" * 8 + "7d" + "00" * 4 + "7805")
    assert SMALL.decode("Point", unknown + bytes.fromhex("0a0161"))["name"] == "a"
    assert SMALL.decode("Point", bytes.fromhex("2063"))["kind"] == "NONE"


def test_a_field_that_is_none_is_not_encoded():
    with pytest.raises(KeyError, match="Point has no field nmae"):
        SMALL.encode("Point", {"nmae": "a"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("0a05", "it ends within a field"),
        ("0a", "it ends within a number"),
        ("80" * 11, "more than ten bytes"),
        ("0b", "wire type 3"),
        ("0005", "number 0"),
        ("0801", "field name has wire type 0"),
        ("0a01ff", "field name is not UTF-8"),
        ("22026161", "field kind has wire type 2"),
        ("1900", "it ends within a field"),
    ],
)
def test_what_is_no_message_is_refused(data, message):
    with pytest.raises(Malformed, match=message):
        SMALL.decode("Point", bytes.fromhex(data))


@given(st.binary(max_size=60), st.sampled_from(CODEC.messages))
def test_any_bytes_are_a_message_or_refused(data, name):
    try:
        message = CODEC.decode(name, data)
    except Malformed:
        return
    assert CODEC.decode(name, CODEC.encode(name, message)) == message or "nan" in str(message)


@pytest.mark.parametrize("name", CODEC.messages)
def test_the_table_has_each_field_once_and_names_only_what_it_has(name):
    assert CODEC.encode(name, CODEC.decode(name, b"")) == b""


def test_a_message_of_more_items_than_are_ever_sent_is_refused_at_once():
    with pytest.raises(Malformed, match="more than 200000 items"):
        SMALL.decode("Path", b"\x0a\x00" * 200_001)
