"""Hold our table of Katib's messages against the SDK's generated code: fields one by one, and bytes both ways."""

from __future__ import annotations

import sys
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from kubeflow.katib import katib_api_pb2

from proa.ml.tuning.grpc.messages import CODEC, HEALTH, METHODS

FILLED = {"string": "ä", "double": -0.5, "int32": -7}


def compare(name: str, theirs: Descriptor, seen: set[tuple[str, str]]) -> None:
    """Raise unless both have the same fields, down to the last message."""
    if (name, theirs.full_name) in seen:
        return
    seen.add((name, theirs.full_name))
    ours = {field.number: field for field in CODEC._fields[name]}
    assert ours.keys() == {field.number for field in theirs.fields}, (name, theirs.full_name)
    for field in theirs.fields:
        mine = ours[field.number]
        assert mine.name == field.name, (name, field.name)
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        label = "map" if is_map else "repeated" if field.label == FieldDescriptor.LABEL_REPEATED else ""
        assert mine.label == label, (name, field.name)
        if field.type == FieldDescriptor.TYPE_MESSAGE and not is_map:
            compare(mine.type, field.message_type, seen)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            assert CODEC._enums[mine.type] == tuple(value.name for value in field.enum_type.values), mine
        else:
            types = {"string": FieldDescriptor.TYPE_STRING, "double": FieldDescriptor.TYPE_DOUBLE,
                     "int32": FieldDescriptor.TYPE_INT32}  # fmt: skip
            assert is_map or types[mine.type] == field.type, (name, field.name)


def fill(name: str) -> dict[str, Any]:
    """Return a message with something in each field."""
    message: dict[str, Any] = {}
    for field in CODEC._fields[name]:
        if field.type in CODEC._enums:
            value: Any = CODEC._enums[field.type][-1]
        else:
            value = FILLED[field.type] if field.type in FILLED else fill(field.type)
        if field.label == "map":  # its type is the entry's
            message[field.name] = {"k": value["value"]}
        else:
            message[field.name] = [value, value] if field.label else value
    return message


def exchange(name: str, theirs: Descriptor) -> None:
    """Raise unless each reads what the other wrote."""
    message = fill(name)
    parsed = GetMessageClass(theirs)()
    parsed.ParseFromString(CODEC.encode(name, message))
    shown = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    assert shown == message, (name, shown, message)
    assert CODEC.decode(name, parsed.SerializeToString()) == message
    assert CODEC.decode(name, b"") == CODEC.decode(name, GetMessageClass(theirs)().SerializeToString())


def main() -> None:
    """Compare all methods' messages."""
    seen: set[tuple[str, str]] = set()
    for path, names in METHODS.items():
        _, service, method = path.split("/")
        if service == HEALTH:
            continue
        described = katib_api_pb2.DESCRIPTOR.services_by_name[service.rpartition(".")[2]]
        assert described.full_name == service
        theirs = described.methods_by_name[method]
        for name, message in zip(names, (theirs.input_type, theirs.output_type), strict=True):
            compare(name, message, seen)
            exchange(name, message)
    for service in katib_api_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            assert f"/{service.full_name}/{method.name}" in METHODS
    print(len(seen), "messages are the same")


if __name__ == "__main__":
    sys.exit(main())
