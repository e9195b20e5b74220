"""The fake does as the API server does where controllers would notice."""

from __future__ import annotations

import asyncio

import pytest

from proa.client.fake import FakeClient
from proa.objects import meta
from proa.objects.resource import PODS


def test_a_generated_name_that_is_taken_is_generated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    suffixes = iter(["aaaaa", "aaaaa", "bbbbb"])
    monkeypatch.setattr(meta, "random_suffix", lambda: next(suffixes))

    async def main() -> list[str]:
        client = FakeClient()
        pod = {"metadata": {"generateName": "web-"}, "spec": {"containers": []}}
        made = [await client.create(PODS, pod, "default") for _ in range(2)]
        await client.close()
        return [meta.name(pod) for pod in made]

    assert asyncio.run(main()) == ["web-aaaaa", "web-bbbbb"]
