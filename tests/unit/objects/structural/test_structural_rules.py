"""Rules in CEL: those of Kubernetes' documentation, transition rules, what an update leaves alone, and bounds."""

from __future__ import annotations

import pytest

from proa.objects.structural.kind import CustomKind
from proa.objects.structural.node import ABSENT
from proa.objects.structural.rule_compiling import SchemaRules
from proa.objects.structural.schema_rules import SchemaOptions, validate_schema

INT, STRING = {"type": "integer"}, {"type": "string"}


def rule(text, message="", **rest):
    said = {"rule": text, **rest}
    return {**said, "message": message} if message else said


def struct(*rules, **properties):
    return {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}


def check(spec, new, old=ABSENT):
    """Return (what is refused, what is warned of) as "field: message"."""
    schema = {"type": "object", "properties": {"spec": spec}}
    warnings = []
    before = ABSENT if old is ABSENT else {"metadata": {}, "spec": old}
    causes = CustomKind(lambda: schema).check_rules(
        {"metadata": {}, "spec": new}, before, [], warnings.append
    )
    return [f"{cause.field}: {cause.message}" for cause in causes], warnings


def compiled(spec):
    """Return what is wrong with the rules of a definition."""
    schema = {"type": "object", "properties": {"spec": spec}}
    causes = validate_schema(schema, "s", SchemaOptions(), SchemaRules(is_root=True))
    return [f"{cause.field.removeprefix('s.properties[spec].')}: {cause.message}" for cause in causes]


def listed(items, kind="atomic", keys=()):
    return {
        "type": "array",
        "items": items,
        "x-kubernetes-list-type": kind,
        **({"x-kubernetes-list-map-keys": list(keys)} if keys else {}),
    }


SCALES = struct(
    rule("self.minReplicas <= self.replicas"),
    rule("self.replicas <= self.maxReplicas", "too many"),
    minReplicas=INT,
    replicas=INT,
    maxReplicas=INT,
)
GOOD = {"minReplicas": 1, "replicas": 2, "maxReplicas": 3}
DOCUMENTED = {
    "replicas between bounds": (SCALES, GOOD, {**GOOD, "replicas": 5}, "spec: Invalid value: too many"),
    "a key in a map": (
        struct(
            rule("'MY_KEY' in self.stateCounts"), stateCounts={"type": "object", "additionalProperties": INT}
        ),
        {"stateCounts": {"MY_KEY": 1}},
        {"stateCounts": {}},
        "spec: Invalid value: failed rule: 'MY_KEY' in self.stateCounts",
    ),
    "exactly one list": (
        struct(
            rule("(size(self.list1) == 0) != (size(self.list2) == 0)"), list1=listed(INT), list2=listed(INT)
        ),
        {"list1": [1], "list2": []},
        {"list1": [1], "list2": [1]},
        "spec: Invalid value: failed rule: (size(self.list1) == 0) != (size(self.list2) == 0)",
    ),
    "an item by its keys": (
        struct(
            rule("self.widgets.exists(w, w.key == 'x' && w.foo < 10)"),
            widgets=listed({**struct(key=STRING, foo=INT), "required": ["key"]}, "map", ["key"]),
        ),
        {"widgets": [{"key": "x", "foo": 1}]},
        {"widgets": [{"key": "x", "foo": 11}]},
        "spec: Invalid value: failed rule: self.widgets.exists(w, w.key == 'x' && w.foo < 10)",
    ),
    "one field or the other": (
        struct(
            rule("has(self.expired) && self.created + self.ttl < self.expired"),
            created={"type": "string", "format": "date-time"},
            expired={"type": "string", "format": "date-time"},
            ttl={"type": "string", "format": "duration"},
        ),
        {"created": "2026-01-01T00:00:00Z", "ttl": "1h", "expired": "2026-01-01T02:00:00Z"},
        {"created": "2026-01-01T00:00:00Z", "ttl": "3h", "expired": "2026-01-01T02:00:00Z"},
        "spec: Invalid value: failed rule: has(self.expired) && self.created + self.ttl < self.expired",
    ),
    "a prefix": (
        struct(health={**STRING, "x-kubernetes-validations": [rule("self.startsWith('ok')")]}),
        {"health": "ok"},
        {"health": "bad"},
        "spec.health: Invalid value: \"bad\": failed rule: self.startsWith('ok')",
    ),
    "names of widgets and components are disjoint": (
        struct(
            rule("self.set1.all(e, !(e in self.set2))"),
            set1=listed(STRING, "set"),
            set2=listed(STRING, "set"),
        ),
        {"set1": ["a"], "set2": ["b"]},
        {"set1": ["a"], "set2": ["a"]},
        "spec: Invalid value: failed rule: self.set1.all(e, !(e in self.set2))",
    ),
    "int-or-string": (
        struct(
            rule("type(self.p) == string ? self.p == '100%' : self.p == 1000"),
            p={"x-kubernetes-int-or-string": True},
        ),
        {"p": "100%"},
        {"p": 1},
        "spec: Invalid value: failed rule: type(self.p) == string ? self.p == '100%' : self.p == 1000",
    ),
    "a name that CEL escapes": (
        struct(rule("self.__namespace__ > 0 && self.x__dash__prop > 0"), **{"namespace": INT, "x-prop": INT}),
        {"namespace": 1, "x-prop": 1},
        {"namespace": 0, "x-prop": 1},
        "spec: Invalid value: failed rule: self.__namespace__ > 0 && self.x__dash__prop > 0",
    ),
    "a message of its own making": (
        struct(rule("self.x <= 5", messageExpression="'x is ' + string(self.x)", fieldPath=".x"), x=INT),
        {"x": 5},
        {"x": 6},
        "spec.x: Invalid value: x is 6",
    ),
    "a reason": (
        struct(rule("has(self.x)", "say x", reason="FieldValueRequired"), x=INT),
        {"x": 1},
        {},
        "spec: Required value: say x",
    ),
    "what fails to evaluate": (
        struct(rule("self.x == 1"), x=INT),
        {"x": 1},
        {},
        'spec: Invalid value: "object": no such key: x evaluating rule: self.x == 1',
    ),
}


@pytest.mark.parametrize(("schema", "good", "bad", "complaint"), DOCUMENTED.values(), ids=DOCUMENTED.keys())
def test_rules_of_the_documentation(schema, good, bad, complaint):
    assert compiled(schema) == []
    assert check(schema, good) == ([], [])
    assert check(schema, bad)[0] == [complaint]


IMMUTABLE = struct(x={**INT, "x-kubernetes-validations": [rule("self == oldSelf", "x is immutable")]})


def test_a_transition_rule_is_asked_only_where_there_is_an_old_value():
    assert check(IMMUTABLE, {"x": 1}) == ([], [])
    assert check(IMMUTABLE, {"x": 1}, {}) == ([], [])
    assert check(IMMUTABLE, {"x": 1}, {"x": 1}) == ([], [])
    assert check(IMMUTABLE, {"x": 2}, {"x": 1})[0] == ["spec.x: Invalid value: 2: x is immutable"]


def test_an_optional_old_self_is_asked_always():
    text = "!oldSelf.hasValue() || oldSelf.value() <= self"
    schema = struct(x={**INT, "x-kubernetes-validations": [rule(text, optionalOldSelf=True)]})
    assert compiled(schema) == []
    assert check(schema, {"x": 1}) == ([], [])
    assert len(check(schema, {"x": 1}, {"x": 2})[0]) == 1


def test_items_of_a_map_are_compared_by_their_keys():
    member = struct(rule("self.age >= oldSelf.age", "nobody grows younger"), name=STRING, age=INT)
    schema = struct(crew=listed({**member, "required": ["name"]}, "map", ["name"]))
    assert compiled(schema) == []
    new = {"crew": [{"name": "bob", "age": 1}, {"name": "ann", "age": 3}]}
    old = {"crew": [{"name": "ann", "age": 4}]}
    assert check(schema, new, old)[0] == ["spec.crew[1]: Invalid value: nobody grows younger"]


def test_what_an_update_left_as_it_was_is_warned_of():
    new, old = {**GOOD, "replicas": 9}, {**GOOD, "replicas": 9}
    assert check(SCALES, new, old) == ([], ["spec: Invalid value: too many"])
    assert check(SCALES, {**new, "minReplicas": 2}, old)[0] == ["spec: Invalid value: too many"]


REFUSED = {
    "what does not compile": (
        struct(rule("self.y"), x=INT),
        "x-kubernetes-validations[0].rule: Invalid value: "
        '{"Rule":"self.y","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: '
        "compilation failed: ERROR: <input>:1:5: undefined field 'y'\n | self.y\n | ....^",
    ),
    "what is no bool": (
        struct(rule("self.x"), x=INT),
        "x-kubernetes-validations[0].rule: Invalid value: "
        '{"Rule":"self.x","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: '
        "cel expression must evaluate to a bool",
    ),
    "oldSelf in a plain list": (
        struct(l=listed({**INT, "x-kubernetes-validations": [rule("self == oldSelf")]})),
        'properties[l].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be '
        "used on the uncorrelatable portion of the schema within s.properties[spec].properties[l]",
    ),
    "optionalOldSelf without oldSelf": (
        struct(rule("self.x > 0", optionalOldSelf=True), x=INT),
        "x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not "
        "used in rule",
    ),
}


@pytest.mark.parametrize(("schema", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_a_definition_with_a_bad_rule_is_refused(schema, complaint):
    assert compiled(schema) == [complaint]


def test_rules_of_the_whole_object_see_its_names():
    schema = {
        "type": "object",
        "x-kubernetes-validations": [
            rule("self.metadata.name.startsWith('a') && self.kind == 'Boat'", "a name")
        ],
        "properties": {"spec": {"type": "object"}},
    }
    kind = CustomKind(lambda: schema)
    assert validate_schema(schema, "s", SchemaOptions(), SchemaRules(is_root=True)) == []
    obj = {"apiVersion": "v1", "kind": "Boat", "metadata": {"name": "b"}}
    (cause,) = kind.check_rules(obj, ABSENT, [], [].append)
    assert (cause.field, cause.message) == ("<nil>", "Invalid value: a name")


def test_a_rule_that_would_take_too_long_is_stopped():
    numbers = listed(INT)
    schema = struct(rule("self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))"), l=numbers)
    (complaint,), _ = check(schema, {"l": list(range(200))})
    assert "call cost exceeds limit for rule" in complaint


def test_rules_are_not_asked_about_what_they_could_not_rely_on():
    kind = CustomKind(lambda: {"type": "object", "properties": {"spec": SCALES}})
    obj = {"metadata": {}, "spec": {**GOOD, "replicas": "x"}}
    causes = kind.validate(obj, lambda metadata, field: [])
    (said,) = kind.check_rules(obj, ABSENT, causes, [].append)
    assert said.message.endswith("correct the existing errors to complete validation")


@pytest.mark.parametrize(
    "free",
    [
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "additionalProperties": True},
    ],
)
def test_a_free_object_can_be_asked_for_and_compared_but_not_looked_into(free):
    fixed = rule("self.free == oldSelf.free", "free cannot change")
    spec = struct(rule("has(self.free)", "say something"), fixed, free=free)
    assert compiled(spec) == []
    assert check(spec, {"free": {"a": {"b": 1}}}) == ([], [])
    assert check(spec, {}) == (["spec: Invalid value: say something"], [])
    refused, _ = check(spec, {"free": {"a": {"b": 2}}}, {"free": {"a": {"b": 1}}})
    assert refused == ["spec: Invalid value: free cannot change"]
    assert check(spec, {"free": {"a": {"b": 1}}}, {"free": {"a": {"b": 1}}}) == ([], [])
    assert "undefined field 'a'" in compiled(struct(rule("has(self.free.a)"), free=free))[0]
