"""A long selector picks what its terms pick, however it is tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.objects.long_selectors import FEW_TERMS, field_tests, label_test
from proa.objects.selectors import FieldSelector, parse_label_selector

KEYS = st.sampled_from("abcd")
VALUES = st.sampled_from(("1", "2", "3", "x"))
TERMS = st.one_of(
    st.tuples(KEYS, st.sampled_from(("=", "!=")), VALUES).map("".join),
    st.tuples(KEYS, st.sampled_from((" in", " notin")), st.lists(VALUES, min_size=1)).map(
        lambda term: f"{term[0]}{term[1]} ({','.join(term[2])})"
    ),
    st.tuples(KEYS, st.sampled_from("<>"), st.sampled_from("12")).map("".join),
    KEYS,
    KEYS.map("!{}".format),
)
LABELS = st.dictionaries(st.sampled_from("abcdef"), VALUES)
PADDING = ",".join(f"other{number}!=v" for number in range(FEW_TERMS))


@given(terms=st.lists(TERMS, max_size=6), labels=LABELS)
def test_labels(terms: list[str], labels: dict[str, str]) -> None:
    selector = parse_label_selector(",".join([*terms, PADDING]))
    test = label_test(selector)
    assert test != selector.matches
    assert test(labels) == selector.matches(labels)


@given(
    terms=st.lists(st.tuples(KEYS, st.sampled_from(("=", "!=")), VALUES), max_size=6),
    fields=st.fixed_dictionaries(dict.fromkeys("abcd", VALUES)),
)
def test_fields(terms: list[tuple[str, str, str]], fields: dict[str, str]) -> None:
    selector = FieldSelector(tuple(terms))  # type: ignore[arg-type]
    picked = all(
        fields[field] not in differ and (not equal or equal == {fields[field]})
        for field, equal, differ in field_tests(selector.requirements)
    )
    assert picked == selector.matches(fields)
