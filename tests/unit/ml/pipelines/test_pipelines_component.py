"""Pipelines that were under way go on as soon as their database answers, also where it is up later than the cluster."""

import asyncio
import logging

import pytest

from proa.client.fake import FakeClient
from proa.ml.database.errors import CannotOpen, Unavailable
from proa.ml.pipelines import component
from proa.ml.pipelines.component import Pipelines, PipelinesSettings


class Late(Pipelines):
    """Pipelines whose start fails as it is told to."""

    failures: list[Exception]
    starts = 0

    async def _start(self):
        self.starts += 1
        if self.failures:
            raise self.failures.pop(0)
        return object()


@pytest.mark.parametrize(
    ("failures", "starts", "words"),
    [
        (
            [Unavailable("no answer"), Unavailable("no answer")],
            3,
            "pipelines wait for their database: no answer",
        ),
        ([CannotOpen("damaged")], 1, "pipelines do not start; they are tried again at the first request"),
    ],
    ids=["a database that is late is waited for", "one that cannot be used is not"],
)
def test_start(monkeypatch, caplog, failures: list[Exception], starts: int, words: str) -> None:
    monkeypatch.setattr(component, "FIRST_WAIT_SECONDS", 0.0)

    async def go() -> None:
        pipelines = Late(FakeClient(), PipelinesSettings("postgresql://host/name"))
        pipelines.failures = failures
        pipelines.start_in_background()
        await pipelines._background
        assert pipelines.starts == starts
        await pipelines.stop()

    with caplog.at_level(logging.WARNING):
        asyncio.run(go())
    assert words in caplog.text
