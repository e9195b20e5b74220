"""List in pages: by keys and not by counting, so that a page costs the same wherever it lies.

A page token is upstream's: base64 of JSON with the sort, the filter and the first record of the next page, so that it
may be given alone, or with the same sort and filter. Source: backend/src/apiserver/list/list.go and model/*.go.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Generic, TypeVar

from proa.ml.database.engine import Row, Transaction
from proa.ml.database.errors import Invalid
from proa.ml.pipelines.database.filters import Predicate, decode_predicates, encode_predicates, parse_filter
from proa.objects.quick_dataclass import dataclass

_Item = TypeVar("_Item")

DEFAULT_PAGE = 20
MAX_PAGE = 200
MAX_TOKEN_BYTES = 128 << 10
_LEAST = -1e308
"""What a run without the metric is sorted by: as a NULL, first of all."""
_LOWER = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}
"""ASCII only, as the engines' lower() with the collation of our tables."""
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_SYMBOLS = {
    "EQUALS": "=",
    "NOT_EQUALS": "<>",
    "GREATER_THAN": ">",
    "GREATER_THAN_EQUALS": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_EQUALS": "<=",
}


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list request says, as it came: `sort_by` "created_at desc", `filter` JSON; size 0 is the default's."""

    page_size: int = 0
    page_token: str = ""
    sort_by: str = ""
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """Some of the records, where to go on ("" at the end), and how many there are in all."""

    items: Sequence[_Item]
    next_token: str
    total: int


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be listed, filtered and sorted. `fields` are the API's names and their columns."""

    label: str
    """How upstream calls it in messages."""
    table: str
    fields: Mapping[str, str]
    times: frozenset[str] = frozenset({"created_at"})
    """Columns of times: compared by whole seconds, as upstream keeps them."""
    has_tags: bool = False
    has_metrics: bool = False
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Values of fields that are called otherwise in their column, by upper case."""


RUNS = Kind(
    "Run",
    "runs",
    {
        "run_id": "id",
        "id": "id",
        "display_name": "display_name",
        "name": "display_name",
        "created_at": "created_at",
        "finished_at": "finished_at",
        "scheduled_at": "scheduled_at",
        "description": "description",
        "storage_state": "storage_state",
        "status": "state",
        "state": "state",
        "namespace": "namespace",
        "experiment_id": "experiment_id",
        "recurring_run_id": "recurring_run_id",
    },
    times=frozenset({"created_at", "finished_at", "scheduled_at"}),
    has_metrics=True,
    words={"status": {"ERROR": "FAILED", "TERMINATING": "CANCELING"}},
)
EXPERIMENTS = Kind(
    "Experiment",
    "experiments",
    {
        "experiment_id": "id",
        "id": "id",
        "display_name": "name",
        "name": "name",
        "created_at": "created_at",
        "last_run_created_at": "last_run_created_at",
        "description": "description",
        "namespace": "namespace",
        "storage_state": "storage_state",
    },
    times=frozenset({"created_at", "last_run_created_at"}),
)
PIPELINES = Kind(
    "Pipeline",
    "pipelines",
    {
        "pipeline_id": "id",
        "id": "id",
        "name": "name",
        "display_name": "display_name",
        "created_at": "created_at",
        "description": "description",
        "namespace": "namespace",
    },
    has_tags=True,
)
PIPELINE_VERSIONS = Kind(
    "PipelineVersion",
    "pipeline_versions",
    {
        "pipeline_version_id": "id",
        "id": "id",
        "name": "name",
        "display_name": "display_name",
        "created_at": "created_at",
        "description": "description",
    },
    has_tags=True,
)
RECURRING_RUNS = Kind(
    "Job",
    "recurring_runs",
    {
        "recurring_run_id": "id",
        "id": "id",
        "display_name": "display_name",
        "name": "display_name",
        "created_at": "created_at",
        "updated_at": "updated_at",
        "description": "description",
    },
    times=frozenset({"created_at", "updated_at"}),
)
ARTIFACTS = Kind(
    "Artifact",
    "artifacts",
    {
        "artifact_id": "id",
        "id": "id",
        "name": "name",
        "type": "type",
        "uri": "uri",
        "run_id": "run_id",
        "task_id": "task_id",
        "created_at": "created_at",
        "namespace": "namespace",
    },
)


@dataclass(frozen=True, slots=True)
class _Query:
    size: int
    sort: str
    """A field of the API, or "metric:" and a name."""
    is_descending: bool
    predicates: tuple[Predicate, ...]
    start: tuple[Any, str] | None
    """The sorted value and the id of the page's first record."""


def read_page(
    transaction: Transaction, kind: Kind, options: ListOptions, scope: Mapping[str, str | None]
) -> Page[str]:
    """Return the ids of a page. `scope` are columns and their values; "" and None leave a column out."""
    query = _plan(kind, options)
    conditions, parameters = [], list[Any]()
    for column, value in scope.items():
        if value:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    for predicate in query.predicates:
        condition, values = _condition(kind, predicate)
        conditions.append(condition)
        parameters += values
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    total = transaction.rows(f"SELECT count(*) FROM {kind.table}{where}", parameters)[0][0]
    rows = transaction.rows(*_select(kind, query, where, parameters))
    token = ""
    if len(rows) > query.size:
        token = _encode_token(kind, query, rows.pop())
    return Page([row[0] for row in rows], token, total)


def read_rows(transaction: Transaction, select: str, ids: Sequence[str]) -> list[Row]:
    """Return the rows of a page's records, in its order, but for those that are gone: `select` gives the id first."""
    if not ids:
        return []
    rows = transaction.rows(f"{select} WHERE id IN ({', '.join('?' * len(ids))})", ids)
    found = {row[0]: row for row in rows}
    return [found[id] for id in ids if id in found]


def _select(kind: Kind, query: _Query, where: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return SQL and parameters for (id, sorted value) of one record more than a page."""
    way, compare = ("DESC", "<=") if query.is_descending else ("ASC", ">=")
    limit = f"LIMIT {query.size + 1}"
    if query.sort.startswith("metric:"):
        value = f"""COALESCE((SELECT max(value) FROM metrics WHERE metrics.run_id = {kind.table}.id
                    AND metrics.name = ?), {_LEAST})"""
        start = f" WHERE (sorted, id) {compare} (?, ?)" if query.start else ""
        sql = f"""SELECT id, sorted FROM (SELECT id, {value} AS sorted FROM {kind.table}{where}) AS found{start}
                  ORDER BY sorted {way}, id {way} {limit}"""
        first = [query.start[0], query.start[1]] if query.start else []
        return sql, [query.sort.removeprefix("metric:"), *parameters, *first]
    column = kind.fields[query.sort]
    if not query.start:
        return (
            f"SELECT id, {column} FROM {kind.table}{where} ORDER BY {column} {way}, id {way} {limit}",
            list(parameters),
        )
    start = f"{where} AND" if where else " WHERE"
    sql = f"""SELECT id, {column} FROM {kind.table}{start} ({column}, id) {compare} (?, ?)
              ORDER BY {column} {way}, id {way} {limit}"""
    return sql, [*parameters, *query.start]


def _condition(kind: Kind, predicate: Predicate) -> tuple[str, list[Any]]:
    """Return what a predicate is in SQL."""
    if kind.has_tags and predicate.key.startswith("tags."):
        return _tag_condition(kind, predicate)
    name = _field(kind, predicate.key)
    if name is None:
        raise Invalid(f"no support for filtering on unrecognized field {json.dumps(predicate.key)}")
    column, value = kind.fields[name], predicate.value
    if column in kind.times:
        return _time_condition(column, predicate)
    values = [_word(kind, name, one) for one in (value if isinstance(value, list) else [value])]
    if predicate.operation == "IN":
        return (f"{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0"), list(values)
    if predicate.operation == "IS_SUBSTRING":
        pattern = re.sub(r"([\\%_])", r"\\\1", values[0].translate(_LOWER))
        return f"lower({column}) LIKE ? ESCAPE '\\'", [f"%{pattern}%"]
    return f"{column} {_SYMBOLS[predicate.operation]} ?", list(values)


def _time_condition(column: str, predicate: Predicate) -> tuple[str, list[Any]]:
    """Return a condition on a time's whole seconds that an index can answer."""
    value = predicate.value
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, str) for one in values):
        raise Invalid(
            f"cannot compare field {json.dumps(predicate.key)}, a time, with a value of type {predicate.type}"
        )
    if predicate.operation == "IN":
        if not values:
            return "1 = 0", []
        parts = [f"({column} >= ? AND {column} < ?)"] * len(values)
        return f"({' OR '.join(parts)})", [
            float(bound) for one in values for bound in (int(one), int(one) + 1)
        ]
    second, after = float(values[0]), float(int(values[0]) + 1)
    match predicate.operation:
        case "EQUALS":
            return f"({column} >= ? AND {column} < ?)", [second, after]
        case "NOT_EQUALS":
            return f"({column} < ? OR {column} >= ?)", [second, after]
        case "GREATER_THAN":
            return f"{column} >= ?", [after]
        case "GREATER_THAN_EQUALS":
            return f"{column} >= ?", [second]
        case "LESS_THAN":
            return f"{column} < ?", [second]
        case _:
            return f"{column} < ?", [after]


def _tag_condition(kind: Kind, predicate: Predicate) -> tuple[str, list[Any]]:
    if predicate.operation != "EQUALS":
        raise Invalid(
            f"only EQUALS operation is supported for tag filtering, got {predicate.operation} for key "
            f"{json.dumps(predicate.key)}"
        )
    if not isinstance(predicate.value, str):
        raise Invalid(f"tag filter value must be a string for key {json.dumps(predicate.key)}")
    sql = f"EXISTS (SELECT 1 FROM tags WHERE owner_id = {kind.table}.id AND tags.name = ? AND tags.value = ?)"
    return sql, [predicate.key.removeprefix("tags."), predicate.value]


def _word(kind: Kind, name: str, value: int | str) -> str:
    words = kind.words.get(name)
    if words is None:
        return str(value)
    return words.get(str(value).upper(), str(value).upper())


def _field(kind: Kind, name: str) -> str | None:
    """Return the API's snake_case name of a field that there is."""
    if name in kind.fields:
        return name
    snake = _CAMEL.sub(r"_\1", name).lower()
    return snake if snake in kind.fields else None


def _plan(kind: Kind, options: ListOptions) -> _Query:
    size = check_size(options.page_size)
    if not options.page_token:
        return _first(kind, options, size)
    query = _decode_token(kind, options.page_token, size)
    if options.sort_by or options.filter:
        asked = _first(kind, options, size)
        same = (query.sort, query.is_descending, query.predicates)
        if (asked.sort, asked.is_descending, asked.predicates) != same:
            raise Invalid(
                "page token does not match the supplied sort by and/or filtering criteria. Either specify the same "
                "criteria or leave the latter empty if page token is specified"
            )
    return query


def check_size(size: int) -> int:
    """Return how many records a page has; raise Invalid."""
    if size < 0:
        raise Invalid(f"The page size should be greater than 0. Got {size}")
    return min(size or DEFAULT_PAGE, MAX_PAGE)


def _first(kind: Kind, options: ListOptions, size: int) -> _Query:
    sort, is_descending = _parse_sort(kind, options.sort_by)
    predicates = parse_filter(options.filter)
    for predicate in predicates:
        _condition(kind, predicate)
    return _Query(size, sort, is_descending, predicates, None)


def _parse_sort(kind: Kind, text: str) -> tuple[str, bool]:
    words = text.split()
    if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
        raise Invalid(
            f'Received invalid sort by format {json.dumps(text)}. Supported format: "field_name", "field_name desc", '
            'or "field_name asc"'
        )
    if not words:
        return "created_at", False
    return _check_sort(kind, words[0]), len(words) == 2 and words[1].lower() == "desc"


def _check_sort(kind: Kind, name: str) -> str:
    if kind.has_metrics and name.lower().startswith("metric:") and len(name) <= 128:
        return f"metric:{name[7:]}"
    found = _field(kind, name) or _field(kind, name.lower())
    if found is None:
        raise Invalid(f"Invalid sorting field: {json.dumps(name)} on listable type {kind.label}")
    return found


def _encode_token(kind: Kind, query: _Query, first: Sequence[Any]) -> str:
    document = {
        "SortByFieldName": query.sort,
        "SortByFieldValue": first[1],
        "KeyFieldName": "id",
        "KeyFieldValue": first[0],
        "IsDesc": query.is_descending,
        "ModelName": kind.table,
        "Filter": encode_predicates(query.predicates),
    }
    return base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()


def _decode_token(kind: Kind, text: str, size: int) -> _Query:
    try:
        if len(text) > MAX_TOKEN_BYTES:
            raise ValueError("it is too long")
        document = json.loads(base64.b64decode(text, validate=True))
        if document["ModelName"] != kind.table or not isinstance(document["IsDesc"], bool):
            raise ValueError("it is another list's")
        sort = _check_sort(kind, document["SortByFieldName"])
        value, id = document["SortByFieldValue"], document["KeyFieldValue"]
        wanted = float | int if sort.startswith("metric:") or kind.fields[sort] in kind.times else str
        if isinstance(value, bool) or not isinstance(value, wanted) or not isinstance(id, str) or "\0" in id:
            raise ValueError("it has no first record")
        if not isinstance(value, str):
            value = float(value)
        predicates = decode_predicates(document["Filter"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, binascii.Error, RecursionError):
        raise Invalid("Invalid page token") from None
    for predicate in predicates:
        _condition(kind, predicate)
    return _Query(size, sort, document["IsDesc"], predicates, (value, id))
