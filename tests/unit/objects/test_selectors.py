from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.errors import BadRequest
from proa.objects.selectors import (
    NOTHING,
    LabelSelector,
    make_requirement,
    parse_field_selector,
    parse_label_selector,
    selector_from_dict,
    selector_from_labels,
)
from proa.objects.validation import label_value, qualified_name

WEB = {"app": "web", "tier": "front", "level": "3"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=web,tier=back", False),
        ("app!=db", True),
        ("none!=x", True),
        ("app in (web, db)", True),
        ("app notin (web,db)", False),
        ("none notin (x)", True),
        ("app", True),
        ("none", False),
        ("!none", True),
        ("!app", False),
        ("level>2,level<4", True),
        ("level>3", False),
        ("app>1", False),
        ("none=", False),
        (" app = web , tier ", True),
    ],
)
def test_a_selector_picks(text, matches):
    assert parse_label_selector(text).matches(WEB) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
    ],
)
def test_what_cannot_be_read_is_refused_in_upstreams_words(text, message):
    with pytest.raises(BadRequest) as caught:
        parse_label_selector(text)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["-a=b", "a=-b", "a/b/c=d", "A_/x=1", "a>x", "a in ()", "a=" + "b" * 64])
def test_bad_keys_and_values_are_refused(text):
    with pytest.raises(BadRequest, match="Invalid value"):
        parse_label_selector(text)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}, "a in (x,y)"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x"]}]}, "a in (x)"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, "a notin (x)"),
        (
            {
                "matchExpressions": [
                    {"key": "a", "operator": "Exists"},
                    {"key": "b", "operator": "DoesNotExist"},
                ]
            },
            "a,!b",
        ),
        ({}, ""),
    ],
)
def test_a_label_selector_object_reads_like_the_text(selector, text):
    assert str(selector_from_dict(selector)) == text


def test_no_selector_picks_nothing_and_an_empty_one_everything():
    assert not selector_from_dict(None).matches(WEB)
    assert selector_from_dict({}).matches({})
    assert selector_from_dict({}).is_everything
    assert selector_from_labels({}) == NOTHING
    assert selector_from_labels({"app": "web"}).matches(WEB)


def test_an_unknown_operator_is_refused():
    with pytest.raises(BadRequest, match='"Like" is not a valid label selector operator'):
        selector_from_dict({"matchExpressions": [{"key": "a", "operator": "Like"}]})


keys = st.sampled_from(["a", "b", "in", "notin", "x.io/a", "a-b", "A.b_c"])
values = st.sampled_from(["", "x", "y", "in", "1", "9", "a-b", "A.b_c"])
requirements = st.one_of(
    st.builds(lambda k, o, v: make_requirement(k, o, (v,)), keys, st.sampled_from(["=", "==", "!="]), values),
    st.builds(
        lambda k, o, v: make_requirement(k, o, tuple(v)),
        keys,
        st.sampled_from(["in", "notin"]),
        st.lists(values, min_size=1, max_size=3).filter(any),  # `a in ()` is refused, upstream too
    ),
    st.builds(lambda k, o: make_requirement(k, o, ()), keys, st.sampled_from(["exists", "!"])),
    st.builds(
        lambda k, o, v: make_requirement(k, o, (str(v),)),
        keys,
        st.sampled_from(["gt", "lt"]),
        st.integers(0, 9),
    ),
)
label_sets = st.dictionaries(keys, values, max_size=4)


@given(st.lists(requirements, max_size=4), label_sets)
def test_a_selector_that_is_printed_and_read_picks_the_same(parts, labels):
    parts.sort(key=lambda part: part.key)
    selector = LabelSelector(tuple(parts))
    again = parse_label_selector(str(selector))
    assert again == selector
    assert again.matches(labels) == all(part.matches(labels) for part in parts)


@given(keys, values, label_sets)
def test_a_requirement_and_its_opposite_never_agree(key, value, labels):
    for one, other in (
        (f"{key}={value}", f"{key}!={value}"),
        (key, f"!{key}"),
        (f"{key} in ({value},x)", f"{key} notin ({value},x)"),
    ):
        assert parse_label_selector(one).matches(labels) is not parse_label_selector(other).matches(labels)


@given(keys, values)
def test_generated_keys_and_values_are_valid(key, value):
    assert qualified_name(key) == label_value(value) == []


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("", ()),
        ("spec.nodeName=proa-1", (("spec.nodeName", "=", "proa-1"),)),
        ("a==1,b!=2", (("a", "=", "1"), ("b", "!=", "2"))),
        ("a=", (("a", "=", ""),)),
        (r"a=x\,y\=z\\", (("a", "=", "x,y=z\\"),)),
    ],
)
def test_a_field_selector_reads(text, requirements):
    assert parse_field_selector(text).requirements == requirements
    assert parse_field_selector(str(parse_field_selector(text))) == parse_field_selector(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
    ],
)
def test_a_bad_field_selector_is_refused(text, message):
    with pytest.raises(BadRequest) as caught:
        parse_field_selector(text)
    assert caught.value.message == message


def test_a_field_selector_picks():
    selector = parse_field_selector("a=1,b!=2")
    assert selector.matches({"a": "1"})
    assert not selector.matches({"a": "1", "b": "2"})
    assert (selector.required_value("a"), selector.required_value("b")) == ("1", None)
