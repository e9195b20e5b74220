"""`proa pipelines run`: make a run of a file or of a kept pipeline, watch it, and say how it ended."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from proa.cli import Failure, UsageError
from proa.cli.pipelines.asking import Json, ask, find_pipeline, hint, is_id
from proa.cli.pipelines.document import Document, parse_parameters, read_document, with_caching
from proa.cli.pipelines.ending import end_of_run
from proa.cli.pipelines.rest import EQUALS, PipelinesApi
from proa.cli.pipelines.steps import GOOD
from proa.cli.pipelines.watching import say_it_goes_on, watch_run
from proa.cli.terminal import Terminal, print_json


def run_pipeline(options: argparse.Namespace) -> int:
    """Do it; return the exit code."""
    document = read_file(options)
    if document is not None:
        parse_parameters(document.spec, options.parameters)  # what is wrong is said before anything is asked
    run = ask(options, lambda api: _make(api, options, document))
    if options.detach:
        print_json(run) if options.output == "json" else Terminal().line(run["run_id"])
        return 0
    is_json = options.output == "json"
    terminal = Terminal(sys.stderr if is_json else sys.stdout)
    try:
        run, last_words = ask(options, lambda api: _watch(api, run["run_id"], terminal))
    except KeyboardInterrupt:
        return _leave(options, run["run_id"])
    if is_json:
        print_json(run)
    for line in last_words:
        terminal.line(line)
    return 0 if run.get("state") in GOOD else 1


def _leave(options: argparse.Namespace, run_id: str) -> int:
    """Ask a person whether the run is to end; without an answer it goes on."""
    try:
        if sys.stdin.isatty() and input("\nend the run? [y/N] ").strip().lower() in ("y", "yes"):
            ask(options, lambda api: api.send("POST", f"/runs/{run_id}:terminate"))
            print(f"{run_id} is being terminated", file=sys.stderr)
            return 130
    except (KeyboardInterrupt, EOFError):
        pass
    say_it_goes_on(run_id, hint(options))
    return 130


def read_file(options: argparse.Namespace) -> Document | None:
    """Return the pipeline of a file, None where a kept one is meant; raise UsageError, Failure."""
    path = Path(options.pipeline)
    if path.is_file():
        if options.version:
            raise UsageError("--version is for pipelines that are kept; this is a file")
        return read_document(options.pipeline)
    if path.suffix in (".yaml", ".yml", ".json") or "/" in options.pipeline:
        raise Failure(f"{options.pipeline}: there is no such file")
    return None


async def _make(api: PipelinesApi, options: argparse.Namespace, document: Document | None) -> Json:
    """Create the run."""
    name, body = await find_source(api, options, document)
    if options.pipeline_root:
        body.setdefault("runtime_config", {})["pipeline_root"] = options.pipeline_root
    if options.service_account:
        body["service_account"] = options.service_account
    body["display_name"] = options.name or f"{name} {datetime.now():%Y-%m-%d %H-%M-%S}"
    return await api.send("POST", "/runs", {}, body)


async def find_source(
    api: PipelinesApi, options: argparse.Namespace, document: Document | None
) -> tuple[str, Json]:
    """Return the pipeline's name, and what a run (or recurring run) says of pipeline, experiment and parameters.

    Raises UsageError for parameters that are not the pipeline's.
    """
    reference: Json = {}
    if document is None:
        version = await find_version(api, options.pipeline, options.version)
        document = document_of(version)
        reference = {key: version[key] for key in ("pipeline_id", "pipeline_version_id")}
        if options.action == "create" and not options.version:
            del reference["pipeline_version_id"]  # the latest, whenever a run is made
    if options.no_cache:
        document = Document(with_caching(document.spec, False), document.platform)
    if reference and not options.no_cache:
        body: Json = {"pipeline_version_reference": reference}
    else:
        body = {"pipeline_spec": document.whole}
    if values := parse_parameters(document.spec, options.parameters):
        body["runtime_config"] = {"parameters": values}
    body["experiment_id"] = await _experiment_id(api, options.experiment)
    return document.name, body


async def _experiment_id(api: PipelinesApi, name: str) -> str:
    """Return an experiment's id; one that is not there is made. "Default" is that of runs which name none."""
    name = name or "Default"
    if is_id(name):
        return name
    async for found in api.items(
        "/experiments", "experiments", 1, {"display_name": (EQUALS, name)}, namespace=api.namespace
    ):
        return str(found["experiment_id"])
    made = await api.send("POST", "/experiments", {}, {"display_name": name, "namespace": api.namespace})
    return str(made["experiment_id"])


async def find_version(api: PipelinesApi, pipeline: str, version: str) -> Json:
    """Return a version of a kept pipeline, the latest where none is named; raise Failure."""
    found = await find_pipeline(api, pipeline)
    path = f"/pipelines/{found['pipeline_id']}/versions"
    if is_id(version):
        return await api.get(f"{path}/{version}")
    filters = {"display_name": (EQUALS, version)} if version else {}
    async for one in api.items(path, "pipeline_versions", 1, filters):
        return one
    raise Failure(f"{pipeline} has no version{f' {version!r}' if version else ''}")


def document_of(version: Json) -> Document:
    """Return the document of a version, which upstream wraps where it has platform settings."""
    spec: dict[str, Any] = version.get("pipeline_spec") or {}
    if "pipeline_spec" in spec:
        return Document(spec["pipeline_spec"], spec.get("platform_spec") or {})
    return Document(spec, {})


async def _watch(api: PipelinesApi, run_id: str, terminal: Terminal) -> tuple[Json, list[str]]:
    run = await watch_run(api, run_id, terminal)
    return run, await end_of_run(api, run, terminal)
