"""A kind is found by the version that names it, or by another of its group."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.objects.errors import NotFound
from proa.objects.resource import Resource
from proa.reconcile.kinds import REMEMBER_SECONDS, Kind, Kinds, UnknownKind


class Server:
    """Answers discovery; `asked` is what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        boats = [
            {"name": "boats", "kind": "Boat", "namespaced": True},
            {"name": "boats/scale", "kind": "Scale", "namespaced": True},
        ]
        self.documents: dict[str, Any] = {
            "/api/v1": {"resources": [{"name": "nodes", "kind": "Node", "namespaced": False}]},
            "/apis/sea": {"versions": [{"groupVersion": "sea/v2"}, {"groupVersion": "sea/v1"}]},
            "/apis/sea/v1": {"resources": []},
            "/apis/sea/v2": {"resources": boats},
        }

    async def request(self, method: str, path: str, body: object = None) -> Any:
        self.asked.append(path)
        if path not in self.documents:
            raise NotFound("the server could not find the requested resource")
        return self.documents[path]


BOAT = Kind(Resource("sea", "v2", "boats", "Boat"), has_scale=True)


@pytest.mark.parametrize(
    ("api_version", "kind", "expected"),
    [
        ("v1", "Node", Kind(Resource("", "v1", "nodes", "Node", namespaced=False), has_scale=False)),
        ("sea/v2", "Boat", BOAT),
        ("sea/v1", "Boat", BOAT),
        ("sea/v0", "Boat", BOAT),
    ],
)
def test_a_kind_is_found(api_version: str, kind: str, expected: Kind) -> None:
    assert asyncio.run(Kinds(lambda: 0.0).find(Server(), api_version, kind)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("api_version", ["v1", "sea/v2", "sky/v1"])
def test_a_kind_that_is_not_there_is_told(api_version: str) -> None:
    with pytest.raises(UnknownKind, match=f'^no matches for kind "Kite" in version "{api_version}"$'):
        asyncio.run(Kinds(lambda: 0.0).find(Server(), api_version, "Kite"))  # type: ignore[arg-type]


def test_what_was_found_is_remembered_for_a_while_and_what_was_not_is_asked_for_again() -> None:
    async def body() -> None:
        server, seconds = Server(), [0.0]
        kinds = Kinds(lambda: seconds[0])

        async def find() -> Kind:
            return await kinds.find(server, "sea/v2", "Boat")  # type: ignore[arg-type]

        document = server.documents.pop("/apis/sea/v2")
        with pytest.raises(UnknownKind):
            await find()
        server.documents["/apis/sea/v2"] = document
        await find()
        before = len(server.asked)
        await find()
        assert len(server.asked) == before
        seconds[0] = REMEMBER_SECONDS
        await find()
        assert len(server.asked) == before + 1

    asyncio.run(body())
