"""`proa runs show|artifacts|download`: what a run did, was given and made."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from proa.cli import Failure
from proa.cli.pipelines.asking import Json, ask, find_run, hint, shown_time
from proa.cli.pipelines.drawing import draw_artifact, draw_values, format_value, text_of_html
from proa.cli.pipelines.ending import end_of_run
from proa.cli.pipelines.rest import PipelinesApi
from proa.cli.pipelines.results import artifacts_of, clean, find_step, what_holds_back
from proa.cli.pipelines.steps import GOOD, Step, error_text, format_seconds, steps_of
from proa.cli.pipelines.tree import draw_run
from proa.cli.pipelines.watching import say_it_goes_on, watch_run
from proa.cli.terminal import BOLD, DIM, Terminal, format_bytes, format_table, print_json
from proa.objects.errors import ApiError

MOST_TEXT_BYTES = 256 * 1024
"""So much of a page that a step made is read."""
MOST_ABOUT = 70
PAGES = ("HTML", "Markdown")


def _show(options: argparse.Namespace) -> int:
    if options.follow:
        return _follow(options)
    if options.step:
        return ask(options, lambda api: _show_step(api, options))
    return ask(options, lambda api: _show_run(api, options))


async def _show_run(api: PipelinesApi, options: argparse.Namespace) -> int:
    run = await find_run(api, options.run_name)
    if options.output == "json":
        print_json(run)
        return 0
    terminal = Terminal()
    for line in [*describe_run(run, time.time(), terminal), *await what_holds_back(api, run)]:
        terminal.line(line)
    return 0


def _follow(options: argparse.Namespace) -> int:
    terminal = Terminal(sys.stderr if options.output == "json" else sys.stdout)
    run_id = ""

    async def act(api: PipelinesApi) -> tuple[Json, list[str]]:
        nonlocal run_id
        run_id = (await find_run(api, options.run_name))["run_id"]
        run = await watch_run(api, run_id, terminal)
        return run, await end_of_run(api, run, terminal)

    try:
        run, last_words = ask(options, act)
    except KeyboardInterrupt:
        if run_id:
            say_it_goes_on(run_id, hint(options))
        return 130
    if options.output == "json":
        print_json(run)
    for line in last_words:
        terminal.line(line)
    return 0 if run.get("state") in GOOD else 1


def describe_run(run: Json, now: float, terminal: Terminal) -> list[str]:
    """Return the tree, what the run was given, how the cache answered, and the metrics and artifacts that it made."""
    lines = draw_run(run, now, terminal.paint)
    if error := error_text(run.get("error")):
        lines.append(error)
    facts = {
        "id": run["run_id"],
        "created": shown_time(run, "created_at"),
        "finished": shown_time(run, "finished_at"),
    }
    facts |= {"experiment": run.get("experiment_id", ""), "recurring run": run.get("recurring_run_id", "")}
    lines += ["", *draw_values({name: value for name, value in facts.items() if value})]
    if given := (run.get("runtime_config") or {}).get("parameters"):
        lines += ["", terminal.paint("parameters", BOLD), *draw_values(given)]
    lines += _caching(run, terminal)
    made = artifacts_of(run)
    metrics = [(step.path, name, value) for step, _, one in made for name, value in _numbers(one)]
    if metrics:
        rows = [
            ("METRIC", "VALUE", "STEP"),
            *((name, format_value(value), path) for path, name, value in metrics),
        ]
        lines += ["", *format_table(rows).splitlines()]
    if made:
        rows = [("ARTIFACT", "TYPE", "ABOUT"), *(_artifact_row(*one) for one in made)]
        lines += ["", *format_table(rows).splitlines()]
        lines += ["", f"to see one step whole: proa runs show {run['run_id']} STEP"]
    return lines


def _caching(run: Json, terminal: Terminal) -> list[str]:
    rows = []
    for step in steps_of(run):
        cache = step.ours.get("cache") or {}
        if cache.get("outcome") in ("hit", "miss"):
            rows.append((step.path, cache["outcome"], _why(cache)))
    if not rows:
        return []
    return ["", *format_table([("STEP", "CACHE", "WHY"), *rows]).splitlines()]


def _why(cache: Json) -> str:
    return str(cache.get("reason") or "").removeprefix(f"{cache.get('outcome')}: ")


def _numbers(artifact: Json) -> list[tuple[str, Any]]:
    if type_word(artifact) != "Metrics":
        return []
    metadata = artifact.get("metadata") or {}
    return [(name, value) for name, value in metadata.items() if isinstance(value, int | float)]


def type_word(artifact: Json) -> str:
    """Return an artifact's type without its schema's name: "Model"."""
    return str(artifact.get("type") or "system.Artifact").rpartition(".")[2]


def _artifact_row(step: Step, name: str, artifact: Json) -> tuple[str, str, str]:
    return f"{step.path}/{name}", type_word(artifact), _about(artifact.get("metadata") or {})


def _about(metadata: Json) -> str:
    """Return the plain values of an artifact's metadata on one short line."""
    words = [f"{k}={format_value(v)}" for k, v in metadata.items() if not isinstance(v, dict | list)]
    line = " ".join(words)
    return line if len(line) <= MOST_ABOUT else f"{line[: MOST_ABOUT - 1]}…"


async def _show_step(api: PipelinesApi, options: argparse.Namespace) -> int:
    run = await find_run(api, options.run_name)
    step = find_step(run, options.step)
    if options.output == "json":
        details = (run.get("run_details") or {}).get("task_details") or []
        print_json(next(detail for detail in details if detail.get("task_id") == step.id))
        return 0
    terminal = Terminal()
    for line in describe_step(step, time.time(), terminal):
        terminal.line(line)
    for output, artifacts in ((step.ours.get("outputs") or {}).get("artifacts") or {}).items():
        for artifact in artifacts:
            for line in await _describe_artifact(api, output, artifact, terminal):
                terminal.line(line)
    return 0


def describe_step(step: Step, now: float, terminal: Terminal) -> list[str]:
    """Return what a step is, was given and returned; artifacts that it made are not among it."""
    cache = step.ours.get("cache") or {}
    inputs, outputs = step.ours.get("inputs") or {}, step.ours.get("outputs") or {}
    facts: dict[str, Any] = {
        "state": step.state,
        "took": format_seconds(step.seconds(now)),
        "attempt": int(step.ours.get("attempt") or 0) + 1 if step.ours else "",
        "pod": step.pod_name,
        "exit code": step.ours.get("exit_code", ""),
        "cache": f"{cache.get('outcome')}: {_why(cache)}" if cache else "",
        "error": step.error,
    }
    lines = [terminal.paint(step.path, BOLD), *draw_values({k: v for k, v in facts.items() if v != ""})]
    for title, values in (("inputs", inputs), ("outputs", outputs)):
        if parameters := values.get("parameters"):
            lines += ["", terminal.paint(title, BOLD), *draw_values(parameters)]
        if title == "inputs":
            taken = [
                (name, one.get("uri", ""))
                for name, found in (values.get("artifacts") or {}).items()
                for one in found
            ]
            lines += format_table(taken).splitlines() if taken else []
    return lines


async def _describe_artifact(api: PipelinesApi, name: str, artifact: Json, terminal: Terminal) -> list[str]:
    kind = type_word(artifact)
    lines = [
        "",
        f"{terminal.paint(name, BOLD)}  {kind}  {terminal.paint(str(artifact.get('uri') or ''), DIM)}",
    ]
    lines += draw_artifact(str(artifact.get("type") or ""), artifact.get("metadata") or {})
    if kind in PAGES:
        try:
            page = await _read_some(api.stream(f"/artifacts/{artifact['artifact_id']}:download"))
        except ApiError as error:  # a page that is gone is no reason to say nothing of the rest
            return [*lines, f"it cannot be read: {error.message}"]
        text = clean(page.decode(errors="replace"))
        lines += text_of_html(text) if kind == "HTML" else text.splitlines()
    return lines


async def _read_some(stream: AsyncIterator[bytes]) -> bytes:
    found = b""
    async for chunk in stream:
        found += chunk
        if len(found) >= MOST_TEXT_BYTES:
            break
    return found[:MOST_TEXT_BYTES]


def _artifacts(options: argparse.Namespace) -> int:
    run = ask(options, lambda api: find_run(api, options.run_name))
    made = artifacts_of(run)
    if options.output == "json":
        print_json({"artifacts": [{**one, "task": step.path, "output": name} for step, name, one in made]})
        return 0
    rows = [("ARTIFACT", "TYPE", "ID", "URI")]
    rows += [
        (f"{s.path}/{n}", type_word(one), one["artifact_id"], str(one.get("uri") or "")) for s, n, one in made
    ]
    Terminal().line(format_table(rows))
    return 0


def _download(options: argparse.Namespace) -> int:
    if options.to == "-" and sys.stdout.isatty():
        raise Failure("an artifact is nothing for a terminal: -O FILE, or a pipe")

    async def act(api: PipelinesApi) -> tuple[str, int]:
        artifact = find_artifact(await find_run(api, options.run_name), options.artifact)
        name, chunks = await api.download(f"/artifacts/{artifact['artifact_id']}:download")
        if options.to == "-":
            return "", await _copy(chunks, sys.stdout.buffer)
        target = options.to or name.lstrip(".") or file_name(artifact)
        with _written(target) as file:
            return target, await _copy(chunks, file)

    target, size = ask(options, act)
    if target:
        Terminal(sys.stderr).line(f"{target}  {format_bytes(size)}")
    return 0


@contextmanager
def _written(target: str) -> Iterator[IO[bytes]]:
    """Yield the file to write; it is at its place only once it is whole."""
    partial = Path(f"{target}.part")
    with partial.open("wb") as file:
        try:
            yield file
            file.flush()
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def find_artifact(run: Json, name: str) -> Json:
    """Return an artifact of a run by its id, its output's name or "step/output"; raise Failure."""
    made = artifacts_of(run)
    found = [
        one for step, output, one in made if name in (one["artifact_id"], output, f"{step.path}/{output}")
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{step.path}/{output}" for step, output, _ in made[:50]) or "none"
    if found:
        raise Failure(f"{len(found)} artifacts are called {name}; say which by its step: {names}")
    raise Failure(f"the run has no artifact {name!r}; it has: {names}")


def file_name(artifact: Json) -> str:
    """Return what an artifact's file is called here: the last part of its URI."""
    name = str(artifact.get("uri") or "").rstrip("/").rpartition("/")[2] or str(artifact["artifact_id"])
    return name.lstrip(".") or "artifact"


async def _copy(stream: AsyncIterator[bytes], file: IO[bytes]) -> int:
    size = 0
    async for chunk in stream:
        file.write(chunk)
        size += len(chunk)
    return size


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "show": _show,
    "artifacts": _artifacts,
    "download": _download,
}
