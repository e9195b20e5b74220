"""`proa experiments show NAME --trial TRIAL`: one trial, and what it told of each metric, by Katib's DBManager."""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from collections.abc import Sequence

from proa.cli import Failure, UsageError
from proa.cli.connecting import hint
from proa.cli.experiments import plot
from proa.cli.experiments.asking import find
from proa.cli.experiments.describing import COLOURS, make_style, short, took
from proa.cli.experiments.facts import Trial, read_trial
from proa.cli.pipelines.steps import format_seconds
from proa.cli.terminal import BOLD, DIM, GREEN, Terminal, format_table, print_json
from proa.client.protocol import Client
from proa.home import find_home
from proa.ml.tuning.kinds import (
    COLLECTOR_CONTAINER,
    DB_MANAGER,
    DB_MANAGER_PORT,
    NAMESPACE,
    TRIAL_LABEL,
    TRIALS,
)
from proa.ml.tuning.observations.observation import number
from proa.ml.tuning.records import MetricPoint, Objective
from proa.ml.tuning.spec.search_space import read_objective
from proa.objects.errors import NotFound

SECONDS = 30.0
METHOD = "/api.v1.beta1.DBManager/GetObservationLog"
FORWARD = f"kubectl port-forward -n {NAMESPACE} service/{DB_MANAGER} {DB_MANAGER_PORT}"


class Unknown(Exception):
    """The points cannot be read; the message says why."""


async def show_trial(client: Client, options: argparse.Namespace) -> int:
    """Show one trial of an experiment, and each point of its metrics; raise Failure where it is none of its."""
    experiment = await find(client, options, options.experiment)
    try:
        found = await client.get(TRIALS, options.trial, options.namespace)
    except NotFound:
        words = f"`proa experiments trials {options.experiment}{hint(options)}` lists them"
        raise Failure(
            f"there is no trial {options.trial!r} in namespace {options.namespace}; {words}"
        ) from None
    objective = read_objective(experiment["spec"])
    trial = read_trial(found, objective)
    points, why = await _points(options, trial.name)
    if options.output == "json":
        told = [{"time": point.time, "metric": point.metric, "value": point.value} for point in points]
        print_json({"trial": found, "points": told})
        return 0
    if options.output == "yaml":
        raise UsageError("show --trial: -o json has the points; `kubectl get trial -o yaml` has the trial")
    terminal = Terminal()
    for line in [*describe(trial, options, terminal), *draw(points, objective, terminal)]:
        terminal.line(line)
    if why:
        terminal.line()
        terminal.line(terminal.paint(f"the points of its metrics are not shown: {why}", DIM))
    return 0


async def _points(options: argparse.Namespace, trial: str) -> tuple[list[MetricPoint], str]:
    """Return what is known of the trial, and why that is not all."""
    try:
        return await read_points(_address(options), f"{options.namespace}/{trial}"), ""
    except Unknown as error:
        return [], str(error)


def _address(options: argparse.Namespace) -> tuple[str, int]:
    """Return where the DBManager is; raise Unknown."""
    address = options.db_manager
    if not address and not options.kubeconfig:
        server = find_home(options.home).find_server() or {}
        address = server.get("tuning") or ""
    if not address:
        raise Unknown(f"--db-manager HOST:PORT says where they are, after `{FORWARD}` for one")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--db-manager {address}: HOST:PORT is needed")
    return host.strip("[]"), int(port)


async def read_points(address: tuple[str, int], trial: str) -> list[MetricPoint]:
    """Return all points of a trial ("namespace/name"), by time; raise Unknown."""
    from proa.ml.grpc.channel import call
    from proa.ml.grpc.status import CallFailed
    from proa.ml.tuning.grpc.messages import KATIB
    from proa.ml.tuning.grpc.times import read_time

    asked = {"trial_name": trial, "metric_name": "", "start_time": "", "end_time": ""}
    try:
        answer = await call(KATIB, asyncio.open_connection, address, METHOD, asked, SECONDS)
    except CallFailed as error:
        raise Unknown(error.message) from None
    logs = (answer["observation_log"] or {}).get("metric_logs", ())
    return [
        MetricPoint(read_time(log["time_stamp"]), log["metric"]["name"], log["metric"]["value"])
        for log in logs
    ]


def describe(trial: Trial, options: argparse.Namespace, terminal: Terminal) -> list[str]:
    """Return what a trial says of itself."""
    state = terminal.paint(trial.state, COLOURS.get(trial.state, DIM))
    lines = [f"{terminal.paint(trial.name, BOLD)}   {state}   {took(trial, time.time())}"]
    if trial.message:
        lines.append(f"{trial.reason}: {short(trial.message)}")
    if trial.assignments:
        lines += ["", *format_table([("PARAMETER", "VALUE"), *trial.assignments.items()]).splitlines()]
    namespace = f" -n {options.namespace}"
    lines += [
        "",
        f"its log: kubectl logs{namespace} -l {TRIAL_LABEL}={trial.name} -c {COLLECTOR_CONTAINER} --tail=-1",
    ]
    return lines


def draw(points: Sequence[MetricPoint], objective: Objective, terminal: Terminal) -> list[str]:
    """Return a table of the metrics, and a drawing of the objective's over its points."""
    if not points:
        return []
    of: dict[str, list[MetricPoint]] = {}
    for point in points:
        of.setdefault(point.metric, []).append(point)
    rows = [("METRIC", "POINTS", "LEAST", "GREATEST", "LATEST", "OVER")]
    rows += [_row(metric, told) for metric, told in of.items()]
    lines = ["", *format_table(rows).splitlines()]
    values = [found for point in of.get(objective.metric, ()) if (found := _finite(point.value)) is not None]
    drawn = plot.draw(
        values,
        is_maximized=objective.is_maximized,
        is_unicode=make_style(terminal, 0).is_unicode,
        paint_best=lambda text: terminal.paint(text, GREEN),
    )
    return [*lines, "", f"{objective.metric} over its {len(values)} points", *drawn] if drawn else lines


def _row(metric: str, points: Sequence[MetricPoint]) -> tuple[str, str, str, str, str, str]:
    values = {point.value: found for point in points if (found := _finite(point.value)) is not None}
    least = min(values, key=values.__getitem__, default="")
    greatest = max(values, key=values.__getitem__, default="")
    return (
        metric,
        str(len(points)),
        least,
        greatest,
        points[-1].value,
        format_seconds(points[-1].time - points[0].time),
    )


def _finite(value: str) -> float | None:
    found = number(value)
    return found if found is not None and math.isfinite(found) else None
