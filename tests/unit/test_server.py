"""A start that fails says why in a line."""

from __future__ import annotations

import asyncio

import pytest

from proa.cluster import StartFailure
from proa.node.runtimes.protocol import RuntimeFailure
from proa.server import _check


def test_a_node_that_ends_during_the_start_is_told_without_a_traceback() -> None:
    async def start() -> None:
        raise RuntimeFailure("NodeUnavailable", "the connection to noded broke")

    async def main() -> None:
        starting = asyncio.create_task(start())
        await asyncio.wait([starting])
        with pytest.raises(StartFailure, match=r"the connection to noded broke; try again"):
            _check(starting)

    asyncio.run(main())
