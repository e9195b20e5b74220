"""Read the query of list and watch: metav1.ListOptions, with upstream's refusals.

Follows apimachinery/pkg/apis/meta/internalversion/validation/validation.go and apiserver/pkg/storage/interfaces.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.apiserver.pace import aside
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.refusals import invalid
from proa.client.protocol import Object, Request
from proa.objects.errors import BadRequest, Cause
from proa.objects.long_selectors import FieldTest, LabelTest, field_tests, label_test
from proa.objects.quick_dataclass import dataclass
from proa.objects.selectors import (
    FieldSelector,
    LabelSelector,
    parse_field_selector,
    parse_label_selector,
)
from proa.objects.validation import forbidden, not_supported

_COMMON_FIELDS = ("metadata.name", "metadata.namespace")
_SELECTORS = ("labelSelector", "fieldSelector")
LONG_SELECTOR = 4096
_MATCH = "resourceVersionMatch"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects are picked; `everything` where nothing is asked for, so that nobody need decode."""

    definition: ResourceDefinition
    labels: LabelSelector
    fields: FieldSelector
    everything: bool
    label_test: LabelTest
    field_tests: tuple[FieldTest, ...]

    @property
    def knows_kind(self) -> bool:
        """Tell whether it asks for more than metadata, so that the object's version matters."""
        return any(field not in _COMMON_FIELDS for field, _, _ in self.fields.requirements)

    def matches(self, obj: Object) -> bool:
        """Tell whether an object is picked."""
        metadata = obj["metadata"]
        if not self.label_test(metadata.get("labels") or {}):
            return False
        for field, equal, differ in self.field_tests:
            value = self._field(obj, field)
            if value in differ or (equal and (len(equal) > 1 or value not in equal)):
                return False
        return True

    def _field(self, obj: Object, field: str) -> str:
        if field == "metadata.name":
            return str(obj["metadata"]["name"])
        if field == "metadata.namespace":
            return str(obj["metadata"].get("namespace", ""))
        return self.definition.field_selectors[field](obj)


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Checked options. `revision` is None where none was given."""

    selection: Selection
    limit: int = 0
    continue_token: str = ""
    revision: int | None = None
    match: str = ""
    timeout_seconds: int = 0
    bookmarks: bool = False
    initial_events: bool = False
    """Whether a watch begins with what is there: where it was asked for, and where no revision was given."""


async def read_options_aside(
    request: Request, definition: ResourceDefinition, *, watch: bool = False
) -> ListOptions:
    """Return the same, read aside where selectors are long."""
    query = request.query
    if query and sum(len(query[key][0]) for key in _SELECTORS if key in query) > LONG_SELECTOR:
        return await aside(read_list_options, request, definition, watch=watch)
    return read_list_options(request, definition, watch=watch)


def read_list_options(
    request: Request, definition: ResourceDefinition, *, watch: bool = False
) -> ListOptions:
    """Return the request's options; raise BadRequest, Invalid."""
    selection = read_selection(request, definition)
    query = request.query
    if not query:
        return ListOptions(selection, initial_events=watch)
    raw_revision = request.parameter("resourceVersion")
    match = request.parameter("resourceVersionMatch")
    token = request.parameter("continue")
    initial = request.parameter("sendInitialEvents")
    limit, timeout = _integer(request, "limit"), _integer(request, "timeoutSeconds")
    _check_combination(raw_revision, match, token, initial, watch)
    is_legacy = (
        watch and not initial and raw_revision in ("", "0")
    )  # pkg/apis/meta/internalversion/defaults.go
    return ListOptions(
        selection,
        max(limit, 0),
        token,
        _revision(raw_revision),
        match,
        timeout,
        _is_true(request.parameter("allowWatchBookmarks")),
        is_legacy or _is_true(initial),
    )


def read_selection(request: Request, definition: ResourceDefinition) -> Selection:
    """Return the selectors; raise BadRequest for one that cannot be read or a field that is not known."""
    labels = parse_label_selector(request.parameter("labelSelector"))
    fields = parse_field_selector(request.parameter("fieldSelector"))
    for field, _, _ in fields.requirements:
        if field not in _COMMON_FIELDS and field not in definition.field_selectors:
            raise BadRequest(_unknown_field(field, definition))
    everything = labels.is_everything and not fields.requirements
    return Selection(
        definition, labels, fields, everything, label_test(labels), field_tests(fields.requirements)
    )


def _unknown_field(field: str, definition: ResourceDefinition) -> str:
    if not definition.field_selectors:
        return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    return f"field label not supported: {field}"


def _check_combination(revision: str, match: str, token: str, initial: str, watch: bool) -> None:
    check = _watch_causes(match, token, initial) if watch else _list_causes(revision, match, token, initial)
    if causes := list(check):
        raise invalid("ListOptions", "meta.k8s.io", "", causes)


def _watch_causes(match: str, token: str, initial: str) -> Iterator[Cause]:
    if initial and match != "NotOlderThan":
        yield forbidden(_MATCH, f"sendInitialEvents requires setting {_MATCH} to NotOlderThan")
    if match and not initial:
        yield forbidden(_MATCH, f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided")
    if match and match != "NotOlderThan":
        yield not_supported(_MATCH, match, ("NotOlderThan",))
    if match and token:
        yield forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided")


def _list_causes(revision: str, match: str, token: str, initial: str) -> Iterator[Cause]:
    if match and not revision:
        yield forbidden(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided")
    if match and token:
        yield forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided")
    if match and match not in ("Exact", "NotOlderThan"):
        yield not_supported(_MATCH, match, ("Exact", "NotOlderThan", ""))
    if match == "Exact" and revision == "0":
        yield forbidden(_MATCH, f'{_MATCH} "exact" is forbidden for resourceVersion "0"')
    if initial:
        yield forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _integer(request: Request, name: str) -> int:
    text = request.parameter(name)
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _revision(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise BadRequest(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
            "invalid syntax"
        )
    return int(text)


def _is_true(text: str) -> bool:
    return text.lower() not in ("", "0", "false")


def write_options(request: Request, kind: str) -> Object:
    """Return a write's options as admission is shown them: CreateOptions, or UpdateOptions also of a patch."""
    options: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    query = request.query
    if query:
        if "dryRun" in query:
            options["dryRun"] = query["dryRun"]
        for key in ("fieldManager", "fieldValidation"):
            if value := request.parameter(key):
                options[key] = value
    return options
