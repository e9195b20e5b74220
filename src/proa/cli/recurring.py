"""Run pipelines at times: make, list, show, enable, disable and remove recurring runs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from proa.cli import UsageError
from proa.cli.pipelines.asking import (
    Json,
    add_action,
    add_cluster_options,
    add_limit,
    ask,
    find_experiment,
    find_in,
    is_id,
    shown_time,
)
from proa.cli.pipelines.rest import IS_SUBSTRING, PipelinesApi
from proa.cli.terminal import Terminal, format_table, print_json

DESCRIPTION = """\
Run pipelines at times, by a cron schedule or at intervals.
A schedule has six fields, the first being the seconds: `0 30 6 * * mon-fri`; or it is @daily, @hourly, @every 90m. It
is in UTC unless it begins with its zone: `CRON_TZ=Europe/Berlin 0 30 6 * * *`.
"""
EPILOG = """\
examples:
  proa recurring create train.yaml --name nightly --cron '0 0 3 * * *' -p 'day=[[ScheduledTime.2006-01-02]]'
  proa recurring create train --every 6h --no-catchup      what is kept: its latest version whenever a run is made
  proa recurring ls
  proa recurring disable nightly
  proa runs ls --name nightly                              what it has made

In parameters that are texts [[ScheduledTime]], [[CurrentTime]], [[Index]] and [[RunUUID]] stand for what they say.
"""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ONE = "by id, or by name: the newest of that name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add_cluster_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(actions, "ls", "list recurring runs, the newest first")
    listing.add_argument("--name", default="", metavar="PART", help="only those whose name has this in it")
    listing.add_argument("--experiment", default="", metavar="NAME", help="only those of this experiment")
    add_limit(listing)
    show = add_action(actions, "show", "show a recurring run: when it is due, what it runs, its last failure")
    show.add_argument("name", metavar="RECURRING", help=_ONE)
    create = add_action(actions, "create", "run a pipeline at times")
    create.add_argument("pipeline", metavar="FILE|PIPELINE", help="a compiled pipeline, or one that is kept")
    create.add_argument("--name", default="", metavar="NAME", help="(default: the pipeline's)")
    create.add_argument("--cron", default="", metavar="SCHEDULE", help="six fields, or @daily, @every 90m, …")
    create.add_argument(
        "--every", default="", metavar="TIME", help="as 90s, 15m, 6h or 1d, from the last one on"
    )
    create.add_argument("--start", default="", metavar="TIME", help="not before; as 2026-05-01T06:00:00Z")
    create.add_argument("--end", default="", metavar="TIME", help="not after")
    create.add_argument(
        "--max-concurrency", type=int, default=1, metavar="N", help="runs at once, 1 to 10 (default: 1)"
    )
    create.add_argument(
        "--no-catchup", action="store_true", help="of times that were missed run the latest only"
    )
    create.add_argument(
        "-p",
        "--parameter",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value",
    )
    create.add_argument(
        "--version", default="", metavar="VERSION", help="of a kept pipeline (default: the latest then)"
    )
    create.add_argument("--experiment", default="", metavar="NAME", help="which its runs belong to")
    create.add_argument("--no-cache", action="store_true", help="run every step, whatever the cache has")
    summaries = {
        "enable": "have recurring runs make runs again",
        "disable": "have recurring runs make none for now",
        "rm": "remove recurring runs; the runs that they made stay",
    }
    for name, summary in summaries.items():
        one = add_action(actions, name, summary)
        one.add_argument("names", nargs="+", metavar="RECURRING", help=_ONE)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    return _ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> int:
    filters = {"display_name": (IS_SUBSTRING, options.name)} if options.name else {}

    async def act(api: PipelinesApi) -> list[Json]:
        query: dict[str, object] = {"namespace": api.namespace}
        if options.experiment:
            query = {"experiment_id": (await find_experiment(api, options.experiment))["experiment_id"]}
        found = api.items("/recurringruns", "recurringRuns", options.limit, filters, **query)
        return [item async for item in found]

    found = ask(options, act)
    if options.output == "json":
        print_json({"recurringRuns": found})
        return 0
    rows = [("NAME", "WHEN", "STATUS", "NEXT", "RUNS", "ID")]
    rows += [
        (
            str(one.get("display_name") or ""),
            when(one),
            str(one.get("status") or "") + (", fails" if one.get("error") else ""),
            shown_time(one.get("proa") or {}, "next_at"),
            str((one.get("proa") or {}).get("runs_made") or ""),
            one["recurring_run_id"],
        )
        for one in found
    ]
    Terminal().line(format_table(rows))
    return 0


def when(recurring: Mapping[str, Any]) -> str:
    """Return a trigger in a few words."""
    trigger = recurring.get("trigger") or {}
    if cron := trigger.get("cron_schedule"):
        return str(cron.get("cron") or "")
    if periodic := trigger.get("periodic_schedule"):
        return f"every {periodic.get('interval_second')} s"
    return "once"


def _show(options: argparse.Namespace) -> int:
    found = ask(options, lambda api: _find(api, options.name))
    if options.output == "json":
        print_json(found)
        return 0
    from proa.cli.pipelines.drawing import draw_values

    ours, trigger = found.get("proa") or {}, found.get("trigger") or {}
    schedule = trigger.get("cron_schedule") or trigger.get("periodic_schedule") or {}
    reference = found.get("pipeline_version_reference") or {}
    facts = {
        "name": found.get("display_name"),
        "id": found["recurring_run_id"],
        "status": found.get("status"),
        "when": when(found),
        "start": shown_time(schedule, "start_time"),
        "end": shown_time(schedule, "end_time"),
        "next": shown_time(ours, "next_at"),
        "last": shown_time(ours, "last_scheduled_at"),
        "runs made": ours.get("runs_made"),
        "at once": found.get("max_concurrency"),
        "of missed times": "the latest only" if found.get("no_catchup") else "all, one by one",
        "pipeline": reference.get("pipeline_id"),
        "version": reference.get("pipeline_version_id") or ("the latest" if reference else ""),
        "experiment": found.get("experiment_id"),
        "error": (found.get("error") or {}).get("message"),
    }
    lines = draw_values({name: value for name, value in facts.items() if value})
    parameters = (found.get("runtime_config") or {}).get("parameters") or {}
    for line in [*lines, *(["", "parameters", *draw_values(parameters)] if parameters else [])]:
        Terminal().line(line)
    return 0


async def _find(api: PipelinesApi, name: str) -> Json:
    if not is_id(name):
        name = (await find_in(api, "recurringruns", "recurringRuns", name))["recurring_run_id"]
    return await api.get(f"/recurringruns/{name}")


def _create(options: argparse.Namespace) -> int:
    from proa.cli.pipelines.running import find_source, read_file

    if bool(options.cron) == bool(options.every):
        raise UsageError("create needs --cron SCHEDULE or --every TIME")
    if not 1 <= options.max_concurrency <= 10:
        raise UsageError(f"--max-concurrency {options.max_concurrency}: from 1 to 10")
    trigger = read_trigger(options)
    document = read_file(options)

    async def act(api: PipelinesApi) -> Json:
        name, source = await find_source(api, options, document)
        body: Json = {
            "display_name": options.name or name,
            "mode": "ENABLE",
            "max_concurrency": str(options.max_concurrency),
            "no_catchup": options.no_catchup,
            "trigger": trigger,
            **source,
        }
        return await api.send("POST", "/recurringruns", {}, body)

    made = ask(options, act)
    if options.output == "json":
        print_json(made)
        return 0
    Terminal().line(f"{made.get('display_name')}: {when(made)} ({made['recurring_run_id']})")
    return 0


def read_trigger(options: argparse.Namespace) -> Json:
    """Return the API's trigger for --cron, --every, --start and --end; raise UsageError."""
    times = {
        name: read_time(option, value)
        for name, option, value in (
            ("start_time", "--start", options.start),
            ("end_time", "--end", options.end),
        )
        if value
    }
    if options.cron:
        return {"cron_schedule": {"cron": options.cron, **times}}
    found = re.fullmatch(r"(\d{1,9})([smhd])", options.every)
    if found is None or int(found[1]) == 0:
        raise UsageError(f"--every {options.every}: a time as 90s, 15m, 6h or 1d")
    return {"periodic_schedule": {"interval_second": str(int(found[1]) * _UNITS[found[2]]), **times}}


def read_time(option: str, text: str) -> str:
    """Return a time as the API takes it, in UTC where it names no zone; raise UsageError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: a time as 2026-05-01T06:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _change(verb: str, said: str, options: argparse.Namespace) -> int:
    """POST `:verb` (or DELETE, for "") to each."""

    async def act(api: PipelinesApi) -> list[Json]:
        found = [await _find(api, name) for name in options.names]
        for one in found:
            path = f"/recurringruns/{one['recurring_run_id']}"
            await (api.send("POST", f"{path}:{verb}") if verb else api.send("DELETE", path))
        return found

    done = ask(options, act)
    if options.output == "json":
        print_json({"recurringRuns": [one["recurring_run_id"] for one in done]})
        return 0
    for one in done:
        Terminal().line(f"{said}: {one.get('display_name') or ''} ({one['recurring_run_id']})")
    return 0


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "ls": _list,
    "show": _show,
    "create": _create,
    "enable": partial(_change, "enable", "enabled"),
    "disable": partial(_change, "disable", "disabled"),
    "rm": partial(_change, "", "removed"),
}
