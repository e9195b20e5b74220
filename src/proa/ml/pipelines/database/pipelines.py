"""Pipelines, each a name with versions; a version's document is stored once, however many versions and runs have it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from proa.ml.database.engine import Engine, Row, Transaction
from proa.ml.database.errors import AlreadyExists, Invalid, NotFound
from proa.ml.pipelines.database.artifacts import chunks
from proa.ml.pipelines.database.encoding import (
    MAX_DESCRIPTION,
    MAX_NAMESPACE,
    check_text,
    drop_document,
    encode_document,
    find_documents,
    keep_document,
    marks,
)
from proa.ml.pipelines.database.paging import (
    PIPELINE_VERSIONS,
    PIPELINES,
    ListOptions,
    Page,
    read_page,
    read_rows,
)
from proa.ml.pipelines.records import Pipeline, PipelineVersion

MAX_TAGS = 20
MAX_TAG = 63
"""Upstream's limits of tags, and of the characters of a tag's name and value."""
MAX_PIPELINE_NAME, MAX_VERSION_NAME = 128, 127
_COLUMNS = ("id", "name", "namespace", "created_at", "display_name", "description")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM pipelines"
_VERSION_COLUMNS = (
    "id",
    "pipeline_id",
    "name",
    "created_at",
    "display_name",
    "description",
    "code_source_url",
)
_SELECT_VERSION = f"SELECT {', '.join(_VERSION_COLUMNS)}, document FROM pipeline_versions"


class Pipelines:
    """The pipelines of all namespaces."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def insert(self, pipeline: Pipeline, version: PipelineVersion | None = None) -> None:
        """Store a new one, with its first version; raise AlreadyExists (in its namespace), Invalid."""
        _check_pipeline(pipeline)
        document = _check_version(version) if version is not None else None

        def write(transaction: Transaction) -> None:
            _insert_pipeline(transaction, pipeline)
            if version is not None and document is not None:
                _insert_version(transaction, version, document)

        await self._engine.write(write)

    async def get(self, id: str) -> Pipeline:
        """Return it; raise NotFound."""
        found = await self._engine.read(lambda transaction: _read_pipelines(transaction, [id]))
        if not found:
            raise NotFound("Pipeline", id)
        return found[0]

    async def find_by_name(self, namespace: str, name: str) -> Pipeline | None:
        """Return it, if there is one."""

        def read(transaction: Transaction) -> list[Pipeline]:
            sql = "SELECT id FROM pipelines WHERE namespace = ? AND name = ?"
            return _read_pipelines(transaction, [row[0] for row in transaction.rows(sql, (namespace, name))])

        return next(iter(await self._engine.read(read)), None)

    async def page(self, options: ListOptions | None = None, *, namespace: str = "") -> Page[Pipeline]:
        """Return a page of a namespace's, or of all; raise Invalid for options that cannot be."""

        def read(transaction: Transaction) -> Page[Pipeline]:
            page = read_page(transaction, PIPELINES, options or ListOptions(), {"namespace": namespace})
            return Page(_read_pipelines(transaction, page.items), page.next_token, page.total)

        return await self._engine.read(read)

    async def update(
        self, id: str, *, display_name: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Pipeline:
        """Change what is given and return it; raise NotFound, Invalid."""
        _check_change("pipeline", display_name, tags)

        def write(transaction: Transaction) -> Pipeline:
            _change(transaction, "pipelines", id, display_name, tags)
            found = _read_pipelines(transaction, [id])
            if not found:
                raise NotFound("Pipeline", id)
            return found[0]

        return await self._engine.write(write)

    async def delete(self, id: str, *, cascade: bool = False) -> None:
        """Remove it, and its versions with `cascade`; raise NotFound, Invalid where it has versions."""

        def write(transaction: Transaction) -> None:
            sql = "SELECT id FROM pipeline_versions WHERE pipeline_id = ? ORDER BY created_at DESC, id DESC"
            versions = [row[0] for row in transaction.rows(sql, (id,))]
            if versions and not cascade:
                raise Invalid(
                    f"Failed to delete pipeline with id {id} as it has existing pipeline versions (e.g. "
                    f"{versions[0]}). Set cascade=true to delete all versions"
                )
            for version in versions:
                _delete_version(transaction, version)
            if not transaction.run("DELETE FROM pipelines WHERE id = ?", (id,)):
                raise NotFound("Pipeline", id)
            transaction.run("DELETE FROM tags WHERE owner_id = ?", (id,))

        await self._engine.write(write)


class Versions:
    """The versions of all pipelines. Where `with_spec` is not asked for, a version's two documents are {}."""

    def __init__(self, engine: Engine) -> None:
        """Use this engine."""
        self._engine = engine

    async def insert(self, version: PipelineVersion) -> None:
        """Store a new one; raise NotFound for its pipeline, AlreadyExists (its name is taken there), Invalid."""
        document = _check_version(version)
        await self._engine.write(lambda transaction: _insert_version(transaction, version, document))

    async def get(self, id: str, *, with_spec: bool = False) -> PipelineVersion:
        """Return it; raise NotFound."""
        found = await self._engine.read(lambda transaction: _read_versions(transaction, [id], with_spec))
        if not found:
            raise NotFound("PipelineVersion", id)
        return found[0]

    async def find_by_name(self, pipeline_id: str, name: str) -> PipelineVersion | None:
        """Return it, if there is one, without its documents."""
        return await self._find("pipeline_id = ? AND name = ?", (pipeline_id, name), with_spec=False)

    async def find_latest(self, pipeline_id: str, *, with_spec: bool = False) -> PipelineVersion | None:
        """Return a pipeline's newest version, if it has any."""
        where = "pipeline_id = ? ORDER BY created_at DESC, id DESC LIMIT 1"
        return await self._find(where, (pipeline_id,), with_spec=with_spec)

    async def page(
        self, pipeline_id: str, options: ListOptions | None = None, *, with_spec: bool = False
    ) -> Page[PipelineVersion]:
        """Return a page of a pipeline's versions; raise Invalid for options that cannot be."""

        def read(transaction: Transaction) -> Page[PipelineVersion]:
            scope = {"pipeline_id": pipeline_id}
            page = read_page(transaction, PIPELINE_VERSIONS, options or ListOptions(), scope)
            return Page(_read_versions(transaction, page.items, with_spec), page.next_token, page.total)

        return await self._engine.read(read)

    async def update(
        self, id: str, *, display_name: str | None = None, tags: Mapping[str, str] | None = None
    ) -> PipelineVersion:
        """Change what is given and return it, without its documents; raise NotFound, Invalid."""
        _check_change("pipeline version", display_name, tags)

        def write(transaction: Transaction) -> PipelineVersion:
            _change(transaction, "pipeline_versions", id, display_name, tags)
            found = _read_versions(transaction, [id], with_spec=False)
            if not found:
                raise NotFound("PipelineVersion", id)
            return found[0]

        return await self._engine.write(write)

    async def delete(self, id: str) -> None:
        """Remove it; runs of it keep their document. Raises NotFound."""
        await self._engine.write(lambda transaction: _delete_version(transaction, id))

    async def _find(
        self, where: str, parameters: Sequence[Any], *, with_spec: bool
    ) -> PipelineVersion | None:
        def read(transaction: Transaction) -> list[PipelineVersion]:
            rows = transaction.rows(f"SELECT id FROM pipeline_versions WHERE {where}", parameters)
            return _read_versions(transaction, [row[0] for row in rows], with_spec)

        return next(iter(await self._engine.read(read)), None)


def _check_pipeline(pipeline: Pipeline) -> None:
    check_text("Pipeline.Name", pipeline.name, MAX_PIPELINE_NAME)
    check_text("Pipeline.Description", pipeline.description, MAX_DESCRIPTION)
    check_text("Pipeline.Namespace", pipeline.namespace, MAX_NAMESPACE)
    _check_change("Pipeline", pipeline.display_name, pipeline.tags)


def _check_version(version: PipelineVersion) -> tuple[str, str, str]:
    check_text("PipelineVersion.Name", version.name, MAX_VERSION_NAME)
    check_text("PipelineVersion.Description", version.description, MAX_DESCRIPTION)
    check_text("PipelineVersion.CodeSourceUrl", version.code_source_url, MAX_DESCRIPTION)
    _check_change("PipelineVersion", version.display_name, version.tags)
    return encode_document(version.pipeline_spec, version.platform_spec)


def _check_change(what: str, display_name: str | None, tags: Mapping[str, str] | None) -> None:
    check_text(f"{what}.DisplayName", display_name or "")
    if tags:
        check_tags(tags)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise Invalid for tags that cannot be (apiserver/model/pipeline_tags.go)."""
    if len(tags) > MAX_TAGS:
        raise Invalid(f"number of tags ({len(tags)}) exceeds maximum of {MAX_TAGS} per entity")
    for key, value in tags.items():
        name = json.dumps(key)
        if not key:
            raise Invalid("tag key cannot be empty")
        if "." in key:
            raise Invalid(f"tag key {name} must not contain '.' character")
        if len(key) > MAX_TAG:
            raise Invalid(f"tag key {name} exceeds maximum length of {MAX_TAG} characters")
        if len(value) > MAX_TAG:
            raise Invalid(
                f"tag value {json.dumps(value)} for key {name} exceeds maximum length of {MAX_TAG} characters"
            )
        check_text(f"tag key {name}", key)
        check_text(f"tag value of key {name}", value)


def _insert_pipeline(transaction: Transaction, pipeline: Pipeline) -> None:
    added = transaction.run(
        f"INSERT INTO pipelines ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [getattr(pipeline, name) for name in _COLUMNS],
    )
    if not added:
        raise AlreadyExists(
            f"Failed to create a new pipeline. The name {pipeline.name} already exists. Please specify a new name"
        )
    _save_tags(transaction, pipeline.id, pipeline.tags)


def _insert_version(
    transaction: Transaction, version: PipelineVersion, document: tuple[str, str, str]
) -> None:
    if not transaction.rows("SELECT 1 FROM pipelines WHERE id = ?", (version.pipeline_id,)):
        raise NotFound("Pipeline", version.pipeline_id)
    hash = keep_document(transaction, document)
    added = transaction.run(
        f"""INSERT INTO pipeline_versions ({", ".join(_VERSION_COLUMNS)}, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO NOTHING""",
        [*[getattr(version, name) for name in _VERSION_COLUMNS], hash],
    )
    if not added:
        raise AlreadyExists(
            f"Failed to create a new pipeline version. The name {version.name} already exist. Specify a new name"
        )
    _save_tags(transaction, version.id, version.tags)


def _delete_version(transaction: Transaction, id: str) -> None:
    rows = transaction.rows("SELECT document FROM pipeline_versions WHERE id = ?", (id,))
    if not rows:
        raise NotFound("PipelineVersion", id)
    transaction.run("DELETE FROM pipeline_versions WHERE id = ?", (id,))
    transaction.run("DELETE FROM tags WHERE owner_id = ?", (id,))
    drop_document(transaction, rows[0][0])


def _change(
    transaction: Transaction, table: str, id: str, display_name: str | None, tags: Mapping[str, str] | None
) -> None:
    if display_name is not None:
        transaction.run(f"UPDATE {table} SET display_name = ? WHERE id = ?", (display_name, id))
    if tags is not None and transaction.rows(f"SELECT 1 FROM {table} WHERE id = ?", (id,)):
        _save_tags(transaction, id, tags)


def _save_tags(transaction: Transaction, owner: str, tags: Mapping[str, str]) -> None:
    transaction.run("DELETE FROM tags WHERE owner_id = ?", (owner,))
    transaction.run_many(
        "INSERT INTO tags (owner_id, name, value) VALUES (?, ?, ?)",
        [(owner, name, value) for name, value in tags.items()],
    )


def _read_tags(transaction: Transaction, owners: Iterable[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for some in chunks(list(owners)):
        sql = f"SELECT owner_id, name, value FROM tags WHERE owner_id IN ({marks(some)}) ORDER BY owner_id, name"
        for owner, name, value in transaction.rows(sql, some):
            found.setdefault(owner, {})[name] = value
    return found


def _read_pipelines(transaction: Transaction, ids: Sequence[str]) -> list[Pipeline]:
    tags = _read_tags(transaction, ids)
    rows = read_rows(transaction, _SELECT, ids)
    return [Pipeline(**_named(_COLUMNS, row), tags=tags.get(row[0], {})) for row in rows]


def _read_versions(transaction: Transaction, ids: Sequence[str], with_spec: bool) -> list[PipelineVersion]:
    tags = _read_tags(transaction, ids)
    rows: list[Row] = read_rows(transaction, _SELECT_VERSION, ids)
    versions = [PipelineVersion(**_named(_VERSION_COLUMNS, row), tags=tags.get(row[0], {})) for row in rows]
    if not with_spec:
        return versions
    documents = find_documents(transaction, [row[-1] for row in rows])
    found = [documents.get(row[-1], ({}, {})) for row in rows]
    return [
        replace(version, pipeline_spec=pipeline, platform_spec=platform)
        for version, (pipeline, platform) in zip(versions, found, strict=True)
    ]


def _named(columns: Sequence[str], row: Row) -> dict[str, Any]:
    return dict(zip(columns, row, strict=False))
