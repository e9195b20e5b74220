"""Definitions are made, brought up to date, and otherwise left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from proa.client.fake import FakeClient
from proa.ml.definitions import ensure_definitions
from proa.ml.training.component import make_parts as make_training
from proa.ml.tuning.component import TuningSettings
from proa.ml.tuning.component import make_parts as make_tuning
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS


def write(folder: Path, name: str, **spec: object) -> Path:
    file = folder / f"{name}.yaml"
    file.write_bytes(orjson.dumps({"metadata": {"name": name}, "spec": spec}))
    return file


def test_they_are_made_once_and_renewed_where_they_differ(tmp_path: Path):
    client = FakeClient()
    files = [write(tmp_path, "as.example.com", names={"plural": "as"}), write(tmp_path, "bs.example.com")]

    async def main() -> None:
        await ensure_definitions(client, files)
        made = next(d for d in client.all(CUSTOM_RESOURCE_DEFINITIONS) if d["spec"])
        names = {**made["spec"]["names"], "listKind": "AList"}  # what a server adds
        await client.update(CUSTOM_RESOURCE_DEFINITIONS, {**made, "spec": {**made["spec"], "names": names}})
        await ensure_definitions(client, files)
        assert [call.verb for call in client.calls] == ["create", "create", "update"]
        await ensure_definitions(client, [write(tmp_path, "as.example.com", names={"plural": "other"})])

    asyncio.run(main())
    found = {d["metadata"]["name"]: d["spec"] for d in client.all(CUSTOM_RESOURCE_DEFINITIONS)}
    assert found == {"as.example.com": {"names": {"plural": "other"}}, "bs.example.com": {}}


def test_each_kind_that_a_part_begins_with_is_one_that_it_defines():
    parts = [*make_tuning(TuningSettings("")), *make_training()]
    for part in parts:
        defined = {orjson.loads(file.read_bytes())["metadata"]["name"] for file in part.definitions}
        assert {resource.qualified_name for resource in part.begins_with} <= defined, part.name
