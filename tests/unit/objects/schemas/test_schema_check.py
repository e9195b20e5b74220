"""Bodies are brought to what their kind's schema allows, and refused in a real API server's words."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import orjson
import pytest

from proa.objects.errors import BadRequest
from proa.objects.schemas.check import check
from proa.objects.schemas.load import schema_for_kind

Object = dict[str, Any]


def make_pod(**spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [], **spec}}


def checked(obj: Object, strictness: Any = "Ignore", body: bytes = b"") -> Any:
    return check(copy.deepcopy(obj), schema_for_kind(obj["apiVersion"], obj["kind"]), strictness, body)


def test_a_good_body_is_returned_as_it_is() -> None:
    pod = make_pod(nodeSelector={"a": "b"}, hostNetwork=True, priority=7)
    assert checked(pod, "Strict").obj == pod


def test_nulls_and_empty_optional_lists_and_maps_are_as_good_as_absent() -> None:
    pod = make_pod(nodeName=None, nodeSelector={}, tolerations=[], securityContext={})
    pod["metadata"]["creationTimestamp"] = None
    assert checked(pod).obj == make_pod(securityContext={})


def test_a_zero_is_as_good_as_absent_where_go_has_no_pointer() -> None:
    container = {"name": "c", "tty": False, "workingDir": "", "ports": [{"containerPort": 0, "hostPort": 0}]}
    spec = {
        "containers": [container],
        "hostNetwork": False,
        "restartPolicy": "",
        "priority": 0,
        "hostUsers": False,
    }
    kept = {"containers": [{"name": "c", "ports": [{"containerPort": 0}]}], "priority": 0, "hostUsers": False}
    assert checked(make_pod(**spec)).obj == make_pod(**kept)
    assert checked({**make_pod(**spec), "sails": 1}).obj == make_pod(**kept)  # which is looked at closer


def test_a_null_in_a_map_is_the_zero_value() -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": None, "b": "c"}}
    assert checked(config_map).obj["data"] == {"a": "", "b": "c"}


@pytest.mark.parametrize(
    ("strictness", "warnings"),
    [
        ("Ignore", ()),
        ("Warn", ('unknown field "metadata.nam"', 'unknown field "spec.containers[0].imag"')),
    ],
)
def test_unknown_fields_are_pruned_and_named(strictness: str, warnings: tuple[str, ...]) -> None:
    pod = make_pod(containers=[{"name": "c", "imag": "x"}])
    pod["metadata"]["nam"] = "p"
    result = checked(pod, strictness)
    assert result.warnings == warnings
    assert result.obj == make_pod(containers=[{"name": "c"}])


def test_strict_decoding_refuses_unknown_and_duplicate_fields() -> None:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","datta":{"a":"b"},"data":{"a":"1","a":"2"}}'
    with pytest.raises(BadRequest) as refused:
        checked(orjson.loads(body), "Strict", body)
    assert refused.value.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'unknown field "datta", duplicate field "data.a"'
    )


def test_a_body_whose_text_looks_like_keys_has_no_duplicates() -> None:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"{\\"x\\":1,\\"x\\" :2}"}}'
    assert checked(orjson.loads(body), "Strict", body).warnings == ()


def deployment(**spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}


UNMARSHAL = "json: cannot unmarshal "
QUANTITIES = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@pytest.mark.parametrize(
    ("obj", "complaint"),
    [
        (
            deployment(replicas="3"),
            UNMARSHAL + "string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            deployment(replicas=1.5),
            UNMARSHAL + "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            deployment(replicas=2**31),
            UNMARSHAL + "number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            make_pod(containers="x"),
            UNMARSHAL + "string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            make_pod(containers=[{"name": 1}]),
            UNMARSHAL + "number into Go struct field Container.spec.containers.name of type string",
        ),
        (
            make_pod(nodeSelector={"a": True}),
            UNMARSHAL + "bool into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        ({**make_pod(), "spec": []}, UNMARSHAL + "array into Go struct field Pod.spec of type v1.PodSpec"),
        (make_pod(overhead={"cpu": "many"}), QUANTITIES),
        (
            {"apiVersion": "v1", "kind": "Secret", "data": {"a": "%%%"}},
            "illegal base64 data at input byte 0",
        ),
        (
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"deletionTimestamp": "today"}},
            'parsing time "today" as "2006-01-02T15:04:05Z07:00": cannot parse "today" as "2006"',
        ),
    ],
)
def test_what_cannot_be_decoded_is_refused_as_go_does(obj: Object, complaint: str) -> None:
    with pytest.raises(BadRequest) as refused:
        checked(obj)
    kind = obj["kind"]
    assert refused.value.message == f'{kind} in version "v1" cannot be handled as a {kind}: {complaint}'


@pytest.mark.parametrize(
    ("given", "kept"),
    [("0.5", "500m"), ("1024Mi", "1Gi"), (2, "2"), (0.1, "100m"), ("1e3", "1e3")],
)
def test_quantities_become_canonical(given: object, kept: str) -> None:
    pod = make_pod(containers=[{"resources": {"limits": {"cpu": given}}}])
    assert checked(pod).obj["spec"]["containers"][0]["resources"]["limits"] == {"cpu": kept}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
    ],
)
def test_times_are_kept_in_utc_and_whole_seconds(given: str, kept: str) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"creationTimestamp": given}}
    assert checked(config_map).obj["metadata"]["creationTimestamp"] == kept


def test_micro_times_keep_their_fraction() -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    lease["spec"] = {"renewTime": "2026-01-02T03:04:05.678901+01:00"}  # type: ignore[assignment]
    assert checked(lease).obj["spec"]["renewTime"] == "2026-01-02T02:04:05.678901Z"


def test_checking_twice_changes_nothing() -> None:
    pod = make_pod(containers=[{"name": "c", "x": 1, "resources": {"limits": {"cpu": "0.5"}}}], volumes=[])
    once = checked(pod).obj
    assert checked(once).obj == once


class Watched(str):
    """A text whose end can be seen."""


def test_nothing_is_kept_of_a_body_that_had_to_be_looked_at_twice() -> None:
    secret = Watched("secret")
    alive = weakref.ref(secret)
    checked_pod = check(make_pod(nosuchfield=secret), schema_for_kind("v1", "Pod"))
    del secret, checked_pod
    gc.collect()
    assert alive() is None
