"""What a CustomResourceDefinition may say, in upstream's words."""

from __future__ import annotations

import copy

import orjson
import pytest
from tests.unit.apiserver.custom_resource_builders import (
    DEFINITIONS,
    make_definition,
    make_schema,
    make_version,
)

SCHEMA = "spec.validation.openAPIV3Schema"
SPEC = f"{SCHEMA}.properties[spec]"


def with_spec(**schema):
    return make_definition(make_version(schema=make_schema({"type": "object", **schema})))


def with_field(**schema):
    return with_spec(properties={"f": schema})


FIELD = f"{SPEC}.properties[f]"
WRONG = {
    "no schema": (
        make_definition(make_version(schema=None)),
        "spec.versions[0].schema.openAPIV3Schema: Required value",
    ),
    "a name that is not plural.group": (
        {**make_definition(), "metadata": {"name": "x.sea.example"}},
        'metadata.name: Invalid value: "x.sea.example": must be spec.names.plural+"."+spec.group',
    ),
    "a group without a dot": (
        make_definition(group="sea"),
        'spec.group: Invalid value: "sea": should be a domain with at least one dot',
    ),
    "a scope that there is not": (
        make_definition(scope="World"),
        'spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"',
    ),
    "kind and listKind": (
        make_definition(names={"listKind": "Boat"}),
        'spec.names.listKind: Invalid value: "Boat": kind and listKind may not be the same',
    ),
    "a category": (
        make_definition(names={"categories": ["A"]}),
        'spec.names.categories[0]: Invalid value: "A": a DNS-1035 label must consist of lower case alphanumeric '
        "characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. "
        "'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
    ),
    "a group of the project itself": (
        make_definition(group="x.k8s.io"),
        "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval "
        'annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111',
    ),
    "preserveUnknownFields": (
        make_definition(preserveUnknownFields=True),
        "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields "
        "to true in spec.versions[*].schema instead",
    ),
    "a webhook without a client": (
        make_definition(conversion={"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}}),
        "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
    ),
    "a review version that nobody speaks": (
        make_definition(
            conversion={
                "strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v9"], "clientConfig": {"url": "https://x/"}},
            }
        ),
        'spec.conversion.conversionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1',
    ),
    "a column's type": (
        make_definition(
            make_version(additionalPrinterColumns=[{"name": "A", "type": "x", "jsonPath": ".a"}])
        ),
        'spec.additionalPrinterColumns[0].type: Invalid value: "x": must be one of boolean,date,integer,number,string',
    ),
    "a column's path": (
        make_definition(
            make_version(additionalPrinterColumns=[{"name": "A", "type": "string", "jsonPath": "a"}])
        ),
        'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with .',
    ),
    "a scale that is not in spec": (
        make_definition(
            make_version(
                subresources={"scale": {"specReplicasPath": ".a", "statusReplicasPath": ".status.a"}}
            )
        ),
        'spec.subresources.scale.specReplicasPath: Invalid value: ".a": should be a json path under .spec',
    ),
    "a selectable field that is a list": (
        make_definition(make_version(selectableFields=[{"jsonPath": ".spec.crew"}])),
        'spec.selectableFields[0].jsonPath: Invalid value: ".spec.crew": must point to a field of type string, boolean '
        "or integer. Enum string fields and strings with formats are allowed.",
    ),
    "a selectable field that is not there": (
        make_definition(make_version(selectableFields=[{"jsonPath": ".spec.x"}])),
        'spec.selectableFields[0].jsonPath: Invalid value: ".spec.x": is an invalid path: does not refer to a valid '
        "field",
    ),
    "a deprecation without one": (
        make_definition(make_version(deprecationWarning="x")),
        'spec.versions[0].deprecationWarning: Invalid value: "x": can only be set for deprecated versions',
    ),
    "a field without a type": (
        with_field(description="x"),
        f"{FIELD}.type: Required value: must not be empty for specified object fields",
    ),
    "a type that there is not": (
        with_field(type="text"),
        f'{FIELD}.type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", '
        '"object", "string"',
    ),
    "a list without items": (with_field(type="array"), f"{FIELD}.items: Required value: must be specified"),
    "properties and additionalProperties": (
        with_spec(properties={"f": {"type": "string"}}, additionalProperties={"type": "string"}),
        f"{SPEC}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
    ),
    "uniqueItems": (
        with_field(type="array", items={"type": "string"}, uniqueItems=True),
        f"{FIELD}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes "
        "quadratic",
    ),
    "a type in a nested schema": (
        with_field(type="string", anyOf=[{"type": "string"}]),
        f"{FIELD}.anyOf[0].type: Forbidden: must be empty to be structural",
    ),
    "a field that only a nested schema knows": (
        make_definition(make_version(schema=make_schema(anyOf=[{"properties": {"x": {"minimum": 1}}}]))),
        f"{SCHEMA}.properties[x]: Required value: because it is defined in {SCHEMA}.anyOf[0].properties[x]",
    ),
    "metadata at the root": (
        make_definition(
            make_version(
                schema={
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}
                        },
                    }
                }
            )
        ),
        f"{SCHEMA}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
        "metadata is implicitly specified",
    ),
    "a pattern that is none": (
        with_field(type="string", pattern="a["),
        f'{FIELD}.pattern: Invalid value: "a[": must be a valid regular expression, but isn\'t: error parsing regexp: '
        "missing closing ]: `[`",
    ),
    "a map of items without keys": (
        with_field(**{"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}),
        f"{FIELD}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
    ),
    "a default of another type": (
        with_field(type="integer", default="x"),
        f'{FIELD}.default: Invalid value: "string":  in body must be of type integer: "string"',
    ),
    "a default with an unknown field": (
        with_field(type="object", default={"a": 1}),
        f'{FIELD}.default: Invalid value: {{"a":1}}: must not have unknown fields',
    ),
    "$ref": (
        with_field(**{"type": "object", "$ref": "#/x"}),
        f"{FIELD}.$ref: Forbidden: $ref is not supported",
    ),
    "a rule with nothing in it": (
        with_field(**{"type": "string", "x-kubernetes-validations": [{"rule": " "}]}),
        f"{FIELD}.x-kubernetes-validations[0].rule: Required value: rule is not specified",
    ),
}


@pytest.mark.parametrize(("definition", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_upstreams_words(api, definition, complaint):
    answer = api.post(DEFINITIONS, definition)
    assert answer.status == 422, answer.raw
    said = [f"{c['field']}: {c['message']}" for c in answer.json["details"]["causes"]]
    assert complaint in said


def test_two_storage_versions_or_none_are_refused(api):
    for versions in ((make_version("v1"), make_version("v2")), (make_version("v1", storage=False),)):
        answer = api.post(DEFINITIONS, make_definition(*versions))
        assert "must have exactly one version marked as storage version" in answer.message


def test_schemas_that_differ_are_found_where_they_are(api):
    bad = make_version("v2", storage=False, schema=make_schema({"type": "object", "properties": {"f": {}}}))
    answer = api.post(DEFINITIONS, make_definition(make_version(), bad))
    where = "spec.versions[1].schema.openAPIV3Schema.properties[spec].properties[f].type"
    assert where in answer.message


def test_a_format_that_nobody_knows_gets_a_warning(api):
    answer = api.post(DEFINITIONS, with_field(type="string", format="colour"))
    assert answer.headers["Warning"] == '299 - "unrecognized format \\"colour\\""'


def test_unknown_fields_are_found_inside_items_and_additional_properties(api):
    definition = with_field(type="array", items={"type": "string", "colour": 1})
    answer = api.post(f"{DEFINITIONS}?fieldValidation=Strict", definition)
    path = "spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.f.items.colour"
    assert f'unknown field "{path}"' in answer.message


@pytest.mark.parametrize("depth", [60, 150, 450])
def test_a_schema_is_as_deep_as_can_be_stored_and_no_deeper(api, depth):
    deep = b'{"type":"object","properties":{"a":' * depth + b'{"type":"string"}' + b"}}" * depth
    whole = orjson.dumps(make_definition(make_version(schema=make_schema("deep"))))
    answer = api.post(DEFINITIONS, whole.replace(b'"deep"', deep))
    assert answer.status == (201 if depth < 100 else 400), answer.raw


def test_what_the_store_depends_on_does_not_change(api):
    made = api.post(DEFINITIONS, make_definition()).json
    changed = copy.deepcopy(made)
    changed["spec"]["scope"], changed["spec"]["names"]["kind"] = "Cluster", "Ship"
    answer = api.put(f"{DEFINITIONS}/boats.sea.example", changed)
    assert [c["field"] for c in answer.json["details"]["causes"]] == ["spec.scope", "spec.names.kind"]


def test_the_status_has_an_endpoint_of_its_own(api):
    api.post(DEFINITIONS, make_definition())
    condition = {"type": "X", "status": "True", "reason": "R", "message": "m"}
    patch = {"status": {"conditions": [condition]}}
    written = api.patch(f"{DEFINITIONS}/boats.sea.example/status", patch).json
    assert [c["type"] for c in written["status"]["conditions"]] == ["X"]
    assert api.get(f"{DEFINITIONS}/boats.sea.example/status").json["spec"]["group"] == "sea.example"


def test_the_table_has_upstreams_columns(api):
    api.post(DEFINITIONS, make_definition())
    table = api.get(DEFINITIONS, accept="application/json;as=Table;v=v1;g=meta.k8s.io").json
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Created At"]
    assert table["rows"][0]["cells"] == ["boats.sea.example", "2027-01-15T08:00:00Z"]
