"""`proa models ls|show|deploy|canary|promote|rollback|predict|wait|delete`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from proa.cli import Failure, UsageError
from proa.cli.connecting import ask, hint, print_list, print_objects
from proa.cli.models.asking import Found, find, read, read_all
from proa.cli.models.describing import COLOURS, describe, traffic_of
from proa.cli.models.following import follow, report, wait_until_settled
from proa.cli.pipelines.steps import format_seconds
from proa.cli.terminal import YELLOW, Terminal, format_table
from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import INFERENCE_SERVICES


def _list(options: argparse.Namespace) -> int:
    namespace = None if options.all_namespaces else options.namespace
    found = ask(options, lambda client: read_all(client, namespace))
    if options.output in ("json", "yaml"):
        print_list(INFERENCE_SERVICES, [one.service for one in found], options.output)
        return 0
    is_wide = options.output == "wide"
    title = ["NAME", "STATE", "URL", "TRAFFIC", "REPLICAS", "AGE"]
    if options.all_namespaces:
        title.insert(0, "NAMESPACE")
    if is_wide:
        title += ["MODEL", "RUNTIME"]
    now, terminal = time.time(), Terminal()
    served = sorted((one.served for one in found), key=lambda one: (one.namespace, one.name))
    rows = []
    for one in served:
        ready = sum(revision.ready for revision in one.revisions)
        wanted = sum(revision.wanted for revision in one.revisions)
        row = [
            one.name,
            one.state,
            one.url,
            traffic_of(one),
            f"{ready}/{wanted}",
            format_seconds(now - one.created),
        ]
        rows.append([*([one.namespace] if options.all_namespaces else []), *row])
        if is_wide:
            rows[-1] += [f"{one.format} {one.source}".strip(), one.runtime]
    lines = format_table([title, *rows]).splitlines()
    terminal.line(lines[0])
    for one, line in zip(served, lines[1:], strict=True):
        painted = terminal.paint(one.state, COLOURS.get(one.state, YELLOW))
        terminal.line(line.replace(f" {one.state} ", f" {painted} ", 1))
    return 0


def _show(options: argparse.Namespace) -> int:
    if options.output in ("json", "yaml"):
        print_objects(ask(options, lambda client: find(client, options, options.model)), options.output)
        return 0
    if options.follow:
        try:
            ask(options, lambda client: follow(client, options))
        except KeyboardInterrupt:
            print(file=sys.stderr)
        return 130
    terminal = Terminal()
    found = ask(options, lambda client: read(client, options, options.model))
    for line in describe(found.served, terminal, time.time()):
        terminal.line(line)
    return 0


def _deploy(options: argparse.Namespace) -> int:
    from proa.cli.models.deploying import deploy

    _check_percent(options.canary)
    return _act(options, lambda client: deploy(client, options))


def _canary(options: argparse.Namespace) -> int:
    _check_percent(options.percent)
    options.no_wait = True
    return _act(options, lambda client: _shift(client, options, options.percent))


def _promote(options: argparse.Namespace) -> int:
    return _act(options, lambda client: _shift(client, options, None))


def _rollback(options: argparse.Namespace) -> int:
    return _act(options, lambda client: _shift(client, options, 0))


async def _shift(client: Client, options: argparse.Namespace, percent: int | None) -> str:
    """Set the share of the latest revision, None: all of it; refuse where there is no other to share with."""
    service = await find(client, options, options.model)
    component = ((service.get("status") or {}).get("components") or {}).get("predictor") or {}
    others = [component.get("previousRolledoutRevision"), component.get("latestRolledoutRevision")]
    if percent is not None and set(others) <= {None, "", component.get("latestCreatedRevision")}:
        raise Failure(
            f"{options.model} has one revision: there is nothing to share traffic with; "
            f"`proa models deploy {options.model} …{hint(options)} --canary 10` makes another"
        )
    await patch(client, options, {"spec": {"predictor": {"canaryTrafficPercent": percent}}})
    return ""


async def patch(client: Client, options: argparse.Namespace, change: Mapping[str, Any]) -> Object:
    """Change the InferenceService."""
    return await client.patch(INFERENCE_SERVICES, options.model, change, options.namespace)


def _act(options: argparse.Namespace, act: Callable[[Client], Any]) -> int:
    """Do it, and, unless told otherwise, wait for what comes of it."""

    async def acted(client: Client) -> Found | None:
        said = await act(client)
        if said:
            Terminal().line(said)
        return None if options.no_wait else await wait_until_settled(client, options, options.model)

    found = ask(options, acted)
    if found is not None:
        return report(found)
    Terminal().line(f"to see what comes of it: proa models show -f {options.model}{hint(options)}")
    return 0


def _check_percent(percent: int | None) -> None:
    if percent is not None and not 0 <= percent <= 100:
        raise UsageError(f"{percent} is no share of traffic: 0 to 100")


def _predict(options: argparse.Namespace) -> int:
    from proa.cli.models.predicting import predict, read_body

    body = read_body(options.data)
    found = ask(options, lambda client: read(client, options, options.model))
    return predict(found.served, body, options)


def _wait(options: argparse.Namespace) -> int:
    async def act(client: Client) -> Found:
        await find(client, options, options.model)
        return await wait_until_settled(client, options, options.model)

    return report(ask(options, act))


def _delete(options: argparse.Namespace) -> int:
    async def act(client: Client) -> None:
        for name in options.models:
            await find(client, options, name)
        for name in options.models:
            await client.delete(INFERENCE_SERVICES, name, options.namespace, propagation_policy="Background")

    ask(options, act)
    for name in options.models:
        Terminal().line(f"deleted: {name}, with all that served it")
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "ls": _list,
    "show": _show,
    "deploy": _deploy,
    "canary": _canary,
    "promote": _promote,
    "rollback": _rollback,
    "predict": _predict,
    "wait": _wait,
    "delete": _delete,
}
