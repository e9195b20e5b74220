"""`proa runs ls|logs|retry|terminate|archive|unarchive|rm`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from proa.cli import Failure
from proa.cli.pipelines.asking import Json, ask, find_experiment, find_run, shown_time
from proa.cli.pipelines.rest import EQUALS, IS_SUBSTRING, PipelinesApi
from proa.cli.pipelines.results import clean, find_step, find_step_with_log, follow_log, read_log
from proa.cli.pipelines.steps import format_seconds, run_seconds, steps_of
from proa.cli.pipelines.tree import SIGNS, UNKNOWN
from proa.cli.terminal import Terminal, format_table, print_json
from proa.objects.errors import NotFound


def _list(options: argparse.Namespace) -> int:
    filters = {"storage_state": (EQUALS, "ARCHIVED" if options.archived else "AVAILABLE")}
    if options.state:
        filters["state"] = (EQUALS, options.state)
    if options.name:
        filters["display_name"] = (IS_SUBSTRING, options.name)

    async def act(api: PipelinesApi) -> list[Json]:
        query = {"namespace": api.namespace}
        if options.experiment:
            query = {"experiment_id": (await find_experiment(api, options.experiment))["experiment_id"]}
        return [item async for item in api.items("/runs", "runs", options.limit, filters, **query)]

    found = ask(options, act)
    if options.output == "json":
        print_json({"runs": found})
        return 0
    terminal, now = Terminal(), time.time()
    lines = format_table(
        [("NAME", "STATE", "TOOK", "CREATED", "ID"), *(_row(run, now) for run in found)]
    ).splitlines()
    terminal.line(lines[0])
    for run, line in zip(found, lines[1:], strict=True):
        state = run.get("state") or "PENDING"
        terminal.line(
            line.replace(f" {state} ", f" {terminal.paint(state, SIGNS.get(state, UNKNOWN)[1])} ", 1)
        )
    return 0


def _row(run: Json, now: float) -> tuple[str, ...]:
    took = format_seconds(run_seconds(run, now))
    name, state = str(run.get("display_name") or ""), str(run.get("state") or "PENDING")
    return name, state, took, shown_time(run, "created_at"), run["run_id"]


def _logs(options: argparse.Namespace) -> int:
    try:
        return ask(options, lambda api: _print_logs(api, options))
    except KeyboardInterrupt:
        return 130


async def _print_logs(api: PipelinesApi, options: argparse.Namespace) -> int:
    run = await find_run(api, options.run_name)
    if options.step:
        find_step_with_log(run, options.step)
        try:
            await _print_log(api, run, options.step, "", follow=options.follow)
        except NotFound as error:
            raise Failure(f"there is no log of {options.step}: {error.message}") from None
        return 0
    if options.follow:
        raise Failure("-f follows one step: name it")
    steps = steps_of(run)
    parents = {step.parent for step in steps}
    for step in steps:
        if step.id not in parents and step.started_at:
            try:
                await _print_log(api, run, step.id, f"{step.path} | ", follow=False)
            except NotFound:  # importers and the like have none
                continue
    return 0


async def _print_log(api: PipelinesApi, run: Json, name: str, prefix: str, *, follow: bool) -> None:
    pending = b""
    show = clean if sys.stdout.isatty() else str
    log = follow_log(api, run, name) if follow else read_log(api, run, find_step(run, name))
    async for chunk in log:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            print(f"{prefix}{show(line.decode(errors='replace'))}")
        sys.stdout.flush()
    if pending:
        print(f"{prefix}{show(pending.decode(errors='replace'))}", flush=True)


def _change(verb: str, said: str, options: argparse.Namespace) -> int:
    """POST `:verb` (or DELETE, for "") to each run."""

    async def act(api: PipelinesApi) -> list[Json]:
        runs = [await find_run(api, name) for name in options.runs]
        for run in runs:
            if verb:
                await api.send("POST", f"/runs/{run['run_id']}:{verb}")
            else:
                await api.send("DELETE", f"/runs/{run['run_id']}")
        return runs

    done = ask(options, act)
    if options.output == "json":
        print_json({"runs": [run["run_id"] for run in done]})
        return 0
    for run in done:
        Terminal().line(f"{said}: {run.get('display_name') or ''} ({run['run_id']})")
    if verb == "retry":
        Terminal().line(f"to watch: proa runs show -f {done[0]['run_id']}")
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "ls": _list,
    "logs": _logs,
    "retry": partial(_change, "retry", "goes on"),
    "terminate": partial(_change, "terminate", "is ended"),
    "archive": partial(_change, "archive", "archived"),
    "unarchive": partial(_change, "unarchive", "brought back"),
    "rm": partial(_change, "", "removed"),
}
