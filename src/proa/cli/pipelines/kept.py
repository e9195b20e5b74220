"""`proa pipelines ls|show|upload|versions|rm`: the pipelines that are kept in the cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from proa.cli.pipelines.asking import Json, ask, find_pipeline, shown_time
from proa.cli.pipelines.document import Document, declared_parameters, read_document, type_word
from proa.cli.pipelines.drawing import format_value
from proa.cli.pipelines.rest import IS_SUBSTRING, PipelinesApi
from proa.cli.pipelines.running import document_of, find_version
from proa.cli.terminal import Terminal, format_table, print_json
from proa.objects.errors import NotFound


def _list(options: argparse.Namespace) -> int:
    filters = {"display_name": (IS_SUBSTRING, options.name)} if options.name else {}

    async def act(api: PipelinesApi) -> list[Json]:
        found = api.items("/pipelines", "pipelines", options.limit, filters, namespace=api.namespace)
        return [item async for item in found]

    found = ask(options, act)
    if options.output == "json":
        print_json({"pipelines": found})
        return 0
    rows = [("NAME", "ID", "CREATED", "DESCRIPTION")]
    rows += [
        (
            _name(p),
            p["pipeline_id"],
            shown_time(p, "created_at"),
            format_value(p.get("description") or "")[:60],
        )
        for p in found
    ]
    Terminal().line(format_table(rows))
    return 0


def _name(item: Json) -> str:
    return str(item.get("display_name") or item.get("name") or "")


def _show(options: argparse.Namespace) -> int:
    if Path(options.pipeline).is_file():
        document = read_document(options.pipeline)
        head: Json = {"name": document.name}
    else:
        head = ask(options, lambda api: find_version(api, options.pipeline, options.version))
        document = document_of(head)
    if options.output == "json":
        print_json({**head, "pipeline_spec": document.whole})
        return 0
    terminal = Terminal()
    for line in describe_document(document):
        terminal.line(line)
    if "pipeline_version_id" in head:
        terminal.line()
        terminal.line(
            f"version {_name(head)} ({head['pipeline_version_id']}), {shown_time(head, 'created_at')}"
        )
    return 0


def describe_document(document: Document) -> list[str]:
    """Return a pipeline's name, parameters and steps in lines."""
    spec = document.spec
    lines = [document.name]
    if about := (spec.get("pipelineInfo") or {}).get("description"):
        lines.append(format_value(about))
    rows = [("PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION")]
    for name, one in declared_parameters(spec).items():
        default = format_value(one["defaultValue"]) if "defaultValue" in one else _no_default(one)
        rows.append((name, type_word(one), default[:40], format_value(one.get("description") or "")[:60]))
    if len(rows) > 1:
        lines += ["", *format_table(rows).splitlines()]
    dag = (spec.get("root") or {}).get("dag") or {}
    return [*lines, "", "steps", *_steps(spec.get("components") or {}, dag, "  ", ())]


def _no_default(declared: Json) -> str:
    return "" if declared.get("isOptional") else "(needed)"


def _steps(components: Mapping[str, Json], dag: Json, indent: str, above: tuple[str, ...]) -> list[str]:
    lines = []
    for name, task in _in_order(dag.get("tasks") or {}):
        after = f"  after {', '.join(task['dependentTasks'])}" if task.get("dependentTasks") else ""
        condition = (task.get("triggerPolicy") or {}).get("condition")
        when = f"  if {condition}" if condition else ""
        loop = "  for each item" if task.get("parameterIterator") or task.get("artifactIterator") else ""
        lines.append(f"{indent}{name}{loop}{when}{after}")
        component = (task.get("componentRef") or {}).get("name") or ""
        inner = (components.get(component) or {}).get("dag")
        if inner and component not in above:
            lines += _steps(components, inner, indent + "  ", (*above, component))
    return lines


def _in_order(tasks: Mapping[str, Json]) -> list[tuple[str, Json]]:
    """Return tasks so that none comes before what it waits for."""
    found: dict[str, Json] = {}

    def add(name: str) -> None:
        if name in found or name not in tasks or name in under_way:
            return
        under_way.add(name)
        for other in sorted(tasks[name].get("dependentTasks") or ()):
            add(other)
        found[name] = tasks[name]

    under_way: set[str] = set()
    for name in tasks:
        add(name)
    return [*found.items()]


def _upload(options: argparse.Namespace) -> int:
    document = read_document(options.file)
    data = Path(options.file).read_bytes()
    name = options.name or document.name
    version = options.version or f"{datetime.now():%Y-%m-%d %H-%M-%S}"

    async def act(api: PipelinesApi) -> Json:
        try:
            kept = await api.get(f"/pipelines/names/{name}", namespace=api.namespace)
        except NotFound:
            query = {"name": name, "description": options.description, "namespace": api.namespace}
            return await api.upload("/pipelines/upload", query, options.file, data)
        query = {"name": version, "pipelineid": kept["pipeline_id"], "description": options.description}
        return await api.upload("/pipelines/upload_version", query, options.file, data)

    made = ask(options, act)
    if options.output == "json":
        print_json(made)
        return 0
    what = f"version {_name(made)} of {name}" if "pipeline_version_id" in made else f"pipeline {name}"
    Terminal().line(f"{what} is kept ({made.get('pipeline_version_id') or made['pipeline_id']})")
    return 0


def _versions(options: argparse.Namespace) -> int:
    async def act(api: PipelinesApi) -> list[Json]:
        kept = await find_pipeline(api, options.pipeline)
        path = f"/pipelines/{kept['pipeline_id']}/versions"
        return [item async for item in api.items(path, "pipeline_versions", options.limit)]

    found = ask(options, act)
    if options.output == "json":
        print_json({"pipeline_versions": found})
        return 0
    rows = [("VERSION", "ID", "CREATED", "DESCRIPTION")]
    rows += [
        (
            _name(v),
            v["pipeline_version_id"],
            shown_time(v, "created_at"),
            format_value(v.get("description") or "")[:60],
        )
        for v in found
    ]
    Terminal().line(format_table(rows))
    return 0


def _remove(options: argparse.Namespace) -> int:
    async def act(api: PipelinesApi) -> list[Json]:
        kept = [await find_pipeline(api, name) for name in options.pipelines]
        for one in kept:
            await api.send("DELETE", f"/pipelines/{one['pipeline_id']}", {"cascade": "true"})
        return kept

    removed = ask(options, act)
    if options.output == "json":
        print_json({"removed": [one["pipeline_id"] for one in removed]})
        return 0
    for one in removed:
        Terminal().line(f"removed: {_name(one)} ({one['pipeline_id']})")
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "ls": _list,
    "show": _show,
    "upload": _upload,
    "versions": _versions,
    "rm": _remove,
}
