"""Wait for a model with words of what happens, or watch its traffic by revision, live."""

from __future__ import annotations

import argparse
import asyncio
import time

from proa.cli import Failure
from proa.cli.connecting import hint
from proa.cli.live import LiveLines
from proa.cli.models.asking import Found, read
from proa.cli.models.describing import describe, traffic_of
from proa.cli.models.facts import STOPPED
from proa.cli.models.loads import Rates
from proa.cli.terminal import Terminal
from proa.client.protocol import Client

LOOK_SECONDS = 0.1
DRAW_SECONDS = 1.0


async def wait_until_settled(client: Client, options: argparse.Namespace, name: str) -> Found:
    """Return a model when its status is of its spec and says that it is ready, or failed; say what happens meanwhile.

    Raises Failure after `options.timeout` seconds.
    """
    terminal, said = Terminal(), ""
    try:
        async with asyncio.timeout(options.timeout):
            while not (found := await read(client, options, name)).served.is_settled:
                served = found.served
                words = f"{name} is {served.state.lower()}" + (f": {served.why}" if served.why else "")
                if words != said:
                    terminal.progress(words)
                    said = words
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise Failure(
            f"{said or name} (after {options.timeout:g} s); `proa models show {name}{hint(options)}` shows how it is"
        ) from None
    return found


def report(found: Found) -> int:
    """Print what came of it, and return the exit code."""
    served, terminal = found.served, Terminal()
    if served.is_failed:
        is_serving = any(one.percent and one.ready for one in served.revisions)
        serving = f"; {traffic_of(served)} goes on to serve" if is_serving else ""
        raise Failure(f"{served.name} cannot be served: {served.why}{serving}")
    if served.state == STOPPED:
        terminal.line(f"{served.name} is stopped")
        return 0
    terminal.line(f"{served.name} is ready: {served.url or served.address}   {traffic_of(served)}")
    return 0


async def follow(client: Client, options: argparse.Namespace) -> None:
    """Show a model until that is interrupted: drawn anew for a person, a line a change for a pipe."""
    terminal, rates, said = Terminal(), Rates(), ""
    live = LiveLines(terminal) if terminal.is_person else None
    while True:
        served = (await read(client, options, options.model)).served
        if live is not None:
            pods = [pod for revision in served.revisions for pod in revision.pods]
            told = await rates.ask(client, served.namespace, pods)
            live.draw(describe(served, terminal, time.time(), told)[: live.room])
        else:
            replicas = " ".join(f"{one.name}={one.ready}/{one.wanted}" for one in served.revisions)
            words = "  ".join(filter(None, (served.state, served.why, traffic_of(served), replicas)))
            if words != said:
                terminal.step(words)
                said = words
        await asyncio.sleep(DRAW_SECONDS)
