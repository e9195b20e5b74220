"""Apply a strategic merge patch: lists merge by the key, or as sets, that the schema declares.

Directives, in the patch only: `$patch: replace|delete|merge` in a map or list element, `$retainKeys`,
`$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`. Follows
apimachinery/pkg/util/strategicpatch/patch.go (StrategicMergeMapPatch) with its order of elements: what the
patch names keeps the patch's order, what only the server has keeps its own, and the two are interleaved by
where they stood. What the patch does not touch is shared with the object that it is applied to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any

from proa.objects.errors import BadRequest
from proa.objects.patch.refusals import BadMerge, DoesNotApply, too_deep
from proa.objects.patch.values import go_text, json_type_name, private_copy, token, type_name
from proa.objects.schemas.schema import Schema

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM_LIST = "$deleteFromPrimitiveList"
_SET_ORDER = "$setElementOrder"
_ANYTHING = Schema("any")

_Map = dict[str, Any]
_List = list[Any]


def apply_strategic_merge(obj: _Map, patch: Any, schema: Schema) -> _Map:
    """Return a new object, which shares with `obj` what the patch does not touch, and nothing with the patch.

    Raises BadRequest (malformed directive), DoesNotApply (an Invalid), or BadMerge for a list element without
    its merge key and the like.
    """
    if not isinstance(patch, dict):
        raise BadRequest(
            f"json: cannot unmarshal {json_type_name(patch)} into Go value of type map[string]interface {{}}"
        )
    try:
        return _merge_map(obj, private_copy(patch), schema)
    except RecursionError:
        raise too_deep() from None


def _merge_map(original: _Map, patch: _Map, schema: Schema) -> _Map:
    if _DIRECTIVE in patch:
        return _directed(patch)
    original = dict(original)
    _apply_retain_keys(original, patch)
    _apply_set_order(original, patch, schema)
    for name, value in patch.items():
        is_deletion = name.startswith(_DELETE_FROM_LIST)
        field = _field_of(name, _DELETE_FROM_LIST, "primitive list") if is_deletion else name
        if value is None:
            original.pop(field, None)
        elif isinstance(value, dict | list) and type(original.get(field)) is type(value):
            original[field] = _merge_value(original[field], value, _field_schema(schema, field), is_deletion)
        elif not is_deletion:
            _set_plain(original, field, value)
    return original


def _directed(patch: _Map) -> _Map:
    """Return what a map with a `$patch` directive becomes."""
    directive = patch.pop(_DIRECTIVE)
    if directive == "replace":
        return patch
    if directive == "delete":
        return {}
    raise BadMerge(
        f"unknown patch type: {go_text(directive)} in map: {go_text({**patch, _DIRECTIVE: directive})}"
    )


def _set_plain(original: _Map, field: str, value: Any) -> None:
    """Take the patch's value as it is, less its nulls and directives."""
    if isinstance(value, dict) and _DIRECTIVE in value:
        original.pop(field, None)
    else:
        original[field] = _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _plain(item) for key, item in value.items() if item is not None and not _is_directed(item)
        }
    if isinstance(value, list):
        return [_plain(item) for item in value if not _is_directed(item)]
    return value


def _is_directed(value: Any) -> bool:
    return isinstance(value, dict) and _DIRECTIVE in value


def _field_schema(schema: Schema, field: str) -> Schema:
    return schema.properties.get(field) or schema.values or _ANYTHING


def _field_of(name: str, prefix: str, what: str) -> str:
    """Return the field that a `prefix/field` directive is about."""
    head, slash, field = name.partition("/")
    if head != prefix or not slash:
        raise BadRequest(f"invalid patch format of {what}")
    return field


def _merge_value(original: Any, patch: Any, schema: Schema, is_deletion: bool) -> Any:
    """Merge two maps or two lists as the field's strategy says."""
    if isinstance(patch, dict):
        return patch if "replace" in schema.patch_strategy else _merge_map(original, patch, schema)
    if "merge" not in schema.patch_strategy:
        return patch
    return _merge_list(original, patch, schema, is_deletion)


def _merge_list(original: _List, patch: _List, schema: Schema, is_deletion: bool = False) -> _List:
    if not original and not patch:
        return original
    if not _holds_maps(original, patch):
        if is_deletion:
            deleted = set(map(token, patch))
            return [item for item in original if token(item) not in deleted]
        merged = _without_duplicates(original + patch)
        return _in_order(merged, patch, original, "")
    merge_key = schema.merge_key
    if not merge_key:
        raise BadMerge("cannot merge lists without merge key for type map")
    original, patch = _apply_element_directives(original, patch, merge_key)
    merged = list(original)
    places = _places(merged, merge_key)
    for element in patch:
        place = places.setdefault(_identity(element, merge_key), len(merged))
        if place == len(merged):
            merged.append(element)
        else:
            merged[place] = _merge_map(merged[place], element, schema.items or _ANYTHING)
    return _in_order(merged, patch, original, merge_key)


def _apply_element_directives(original: _List, patch: _List, merge_key: str) -> tuple[_List, _List]:
    """Return the original less what the patch deletes or replaces, and the patch less its directives."""
    plain: _List = []
    deleted: set[Hashable] = set()
    is_replaced = False
    for element in patch:
        directive = element.get(_DIRECTIVE, "")
        if _DIRECTIVE not in element:
            plain.append(element)
        elif directive == "delete":
            deleted.add(_identity(element, merge_key))
        elif directive == "replace":
            is_replaced = True
        elif directive == "merge":
            raise BadMerge("merging lists cannot yet be specified in the patch")
        else:
            raise BadMerge(f"unknown patch type: {go_text(directive)} in map: {go_text(element)}")
    if is_replaced:
        return plain, []
    return [item for item in original if token(item.get(merge_key)) not in deleted], plain


def _apply_retain_keys(original: _Map, patch: _Map) -> None:
    """Drop the keys of `original` that the patch's $retainKeys does not name."""
    if _RETAIN_KEYS not in patch:
        return
    retained = patch.pop(_RETAIN_KEYS)
    if not isinstance(retained, list):
        raise BadRequest("invalid patch format of retainKeys")
    for name, value in patch.items():
        is_directive = name.startswith((_DELETE_FROM_LIST, _SET_ORDER))
        if value is not None and not is_directive and name not in retained:
            raise BadRequest("invalid patch format of retainKeys")
    for name in [name for name in original if name not in retained]:
        del original[name]


def _apply_set_order(original: _Map, patch: _Map, schema: Schema) -> None:
    """Merge each list that has a $setElementOrder, and put it in that order; take both out of the patch."""
    for name in [name for name in patch if name.startswith(_SET_ORDER)]:
        order = patch.pop(name)
        field = _field_of(name, _SET_ORDER, "setElementOrder list")
        field_schema = _field_schema(schema, field)
        mine, theirs = original.get(field), patch.get(field)
        for value in (order, *(x for x in (mine, theirs) if x is not None)):
            if not isinstance(value, list):
                raise BadMerge(f"expected a []interface {{}}, but received a {type_name(value)}")
        merge_key = field_schema.merge_key
        _check_order(theirs or [], order, merge_key)
        if mine is None and theirs is None:
            continue
        if mine is None:
            merged = _plain(theirs)
        elif theirs is None:
            merged = mine
        else:
            merged = _merge_value(mine, theirs, field_schema, False)
        patch.pop(field, None)
        original[field] = _in_order(merged, order, mine or [], merge_key)


def _check_order(patch: _List, order: _List, merge_key: str) -> None:
    """Refuse a patch list whose elements are not, in the same order, in its $setElementOrder."""
    if not patch or not order:
        return
    wanted = iter([_identity(element, merge_key) for element in order])
    for element in patch:
        if _is_directed(element):
            continue
        identity = _identity(element, merge_key)
        if identity not in wanted:  # which takes from the iterator as far as it looks
            raise BadMerge(
                f"The order in patch list:\n{go_text(patch)}\n doesn't match {_SET_ORDER} list:\n{go_text(order)}\n"
            )


def _in_order(merged: _List, patch_order: _List, server_order: _List, merge_key: str) -> _List:
    """Sort what the patch names by the patch's order and the rest by the server's, and interleave the two."""
    wanted, served = _places(patch_order, merge_key), _places(server_order, merge_key)
    named: list[tuple[int, int, Any]] = []
    rest: list[tuple[int, int, Any]] = []
    for item in merged:
        identity = _identity(item, merge_key)
        place, server_place = wanted.get(identity, -1), served.get(identity, -1)
        (named if place >= 0 else rest).append((place, server_place, item))
    named.sort(key=lambda found: found[0])
    rest.sort(key=lambda found: found[1])
    result: _List = []
    left = deque(rest)
    for _, server_place, item in named:
        while left and 0 <= left[0][1] < server_place:
            result.append(left.popleft()[2])
        result.append(item)
    return result + [item for _, _, item in left]


def _places(items: _List, merge_key: str) -> dict[Hashable, int]:
    """Return the first place of each element."""
    places: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        places.setdefault(_identity(item, merge_key), place)
    return places


def _identity(element: Any, merge_key: str) -> Hashable:
    """Return what tells elements apart: the merge key's value, or a primitive itself."""
    if not merge_key:
        return token(element)
    if not isinstance(element, dict):
        raise BadMerge(f"expected a map[string]interface {{}}, but received a {type_name(element)}")
    if merge_key not in element:
        raise BadMerge(f"map: {go_text(element)} does not contain declared merge key: {merge_key}")
    return token(element[merge_key])


def _holds_maps(*lists: _List) -> bool:
    """Tell whether the elements are maps or primitives; they must all be of one type, and not lists."""
    elements = [item for items in lists for item in items]
    if any(isinstance(item, list) for item in elements):
        raise DoesNotApply("lists of lists are not supported")
    kinds = {type(item) for item in elements}
    if len(kinds) > 1:
        raise BadMerge(f"list element types are not identical: {go_text(list(lists))}")
    return kinds == {dict}


def _without_duplicates(items: _List) -> _List:
    kept: dict[Hashable, Any] = {}
    for item in items:
        kept.setdefault(token(item), item)
    return list(kept.values())
