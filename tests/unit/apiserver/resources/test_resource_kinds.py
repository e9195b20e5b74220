"""Each kind's defaults and rules, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.handlers.shapes import cells_of
from proa.apiserver.resources import DEFINITIONS
from proa.apiserver.resources.printing import human_duration, some_of
from proa.objects.schemas.load import schema_named

Object = dict[str, Any]


def make(kind: str, api_version: str = "v1", **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "uid": "u-1"}, **fields}


def template(labels: Object | None = None, **spec: Any) -> Object:
    pod = {"containers": [{"name": "c", "image": "app:1"}], **spec}
    return {"metadata": {"labels": {"app": "a"} if labels is None else labels}, "spec": pod}


def make_deployment(**spec: Any) -> Object:
    given = {"selector": {"matchLabels": {"app": "a"}}, "template": template(), **spec}
    return make("Deployment", "apps/v1", spec={k: v for k, v in given.items() if v is not None})


def make_job(**spec: Any) -> Object:
    return make("Job", "batch/v1", spec={"template": template({}, restartPolicy="Never"), **spec})


def make_service(**spec: Any) -> Object:
    return make("Service", spec={"ports": [{"port": 80}], **spec})


MISMATCH = (
    'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'
)
RULES: list[tuple[Object, list[str]]] = [
    (make_deployment(), []),
    (make_deployment(replicas=-1), ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    (make_deployment(selector=None), ["spec.selector: Required value", MISMATCH]),
    (make_deployment(selector={"matchLabels": {"x": "y"}}), [MISMATCH]),
    (
        make_deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
        [
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0'
        ],
    ),
    (
        make_deployment(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
        ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    ),
    (
        make_deployment(template=template(restartPolicy="Never")),
        ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
    ),
    (make_job(), []),
    (
        make_job(template=template({})),
        ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    ),
    (
        make_job(completionMode="Indexed", parallelism=2),
        ["spec.completions: Required value: when completion mode is Indexed"],
    ),
    (make_service(), []),
    (make_service(ports=[]), ["spec.ports: Required value"]),
    (
        make_service(clusterIP="10.0.0.300"),
        [
            'spec.clusterIPs[0]: Invalid value: "10.0.0.300": must be a valid IP address, '
            "(e.g. 10.9.8.7 or 2001:db8::ffff)"
        ],
    ),
    (
        make_service(ports=[{"name": "a", "port": 80}, {"name": "b", "port": 80}]),
        [
            'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,'
            '"TargetPort":0,"NodePort":0}'
        ],
    ),
    (make_service(type="ExternalName", ports=[]), ["spec.externalName: Required value"]),
    (
        make_service(ports=[{"port": 80, "nodePort": 30001}]),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    ),
    (make("ConfigMap", data={"a": "b"}, binaryData={"c": "AA=="}), []),
    (
        make("ConfigMap", data={"a": "b"}, binaryData={"a": "AA=="}),
        ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
    ),
    (
        make("ConfigMap", data={"a": "x" * (1 << 20) + "x"}),
        ["[]: Too long: may not be more than 1048576 bytes"],
    ),
    (make("Secret", type="kubernetes.io/tls", data={"tls.crt": "AA=="}), ["data[tls.key]: Required value"]),
    (
        make("Event", involvedObject={"namespace": "other"}),
        ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
    ),
    (
        make("Endpoints", subsets=[{}]),
        ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
    ),
    (
        make(
            "EndpointSlice",
            "discovery.k8s.io/v1",
            addressType="IPv4",
            endpoints=[{"addresses": ["::1"]}],
            ports=[{}],
        ),
        ['endpoints[0].addresses[0]: Invalid value: "::1": must be an IPv4 address'],
    ),
    (
        make("Lease", "coordination.k8s.io/v1", spec={"leaseDurationSeconds": 0}),
        ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    ),
    (
        make("PersistentVolumeClaim", spec={}),
        [
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    ),
    (
        make("PersistentVolume", spec={"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}),
        ["spec: Required value: must specify a volume type"],
    ),
    (
        make("StorageClass", "storage.k8s.io/v1", provisioner="a b"),
        [
            "provisioner: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or "
            "'.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
            "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ],
    ),
    (
        make("Node", spec={"taints": [{"key": "a", "effect": "Soon"}]}),
        [
            'metadata.taints[0].effect: Unsupported value: "Soon": supported values: '
            '"NoSchedule", "PreferNoSchedule", "NoExecute"'
        ],
    ),
]


@pytest.mark.parametrize(
    ("obj", "expected"), RULES, ids=[f"{o['kind']}-{i}" for i, (o, _) in enumerate(RULES)]
)
def test_objects_are_accepted_or_refused_in_upstreams_words(
    kinds: Any, obj: Object, expected: list[str]
) -> None:
    assert kinds.problems(obj) == expected


def change(*path: str, to: Any) -> Any:
    def apply(obj: Object) -> None:
        for key in path[:-1]:
            obj = obj[key]
        obj[path[-1]] = to

    return apply


IMMUTABLE = [
    (
        make_deployment(),
        change("spec", "selector", to={"matchLabels": {"app": "a", "b": "c"}}),
        "spec.selector",
    ),
    (make_job(), change("spec", "completions", to=3), "spec.completions"),
    (make_job(), change("spec", "template", "spec", "restartPolicy", to="OnFailure"), "spec.template"),
    (make("Secret", type="Opaque"), change("type", to="kubernetes.io/other"), "type"),
    (make("ConfigMap", immutable=True, data={"a": "b"}), change("data", to={"a": "c"}), "data"),
    (make_service(), change("spec", "clusterIP", to="10.96.9.9"), "spec.clusterIPs[0]"),
    (
        make(
            "PersistentVolumeClaim",
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}},
        ),
        change("spec", "accessModes", to=["ReadOnlyMany"]),
        "spec",
    ),
    (
        make("StorageClass", "storage.k8s.io/v1", provisioner="a/b"),
        change("provisioner", to="a/c"),
        "provisioner",
    ),
]


@pytest.mark.parametrize(
    ("obj", "edit", "field"), IMMUTABLE, ids=[f"{o['kind']}-{f}" for o, _, f in IMMUTABLE]
)
def test_what_is_set_once_stays(kinds: Any, obj: Object, edit: Any, field: str) -> None:
    assert field in [problem.partition(": ")[0] for problem in kinds.update_problems(obj, edit)]


@pytest.mark.parametrize(
    "obj",
    [
        make_deployment(),
        make_job(),
        make_service(),
        make_service(clusterIP="None"),
        make("Secret", stringData={"a": "b"}),
    ],
    ids=lambda obj: obj["kind"],
)
def test_writing_an_object_again_changes_nothing(kinds: Any, obj: Object) -> None:
    definition = kinds.definition_of(obj["kind"])
    stored = kinds.create(obj)
    again = kinds.create({**stored})
    definition.prepare_update(again, stored)
    assert {**again, "status": None} == {**stored, "status": None}


def test_a_job_selects_its_pods_by_its_uid(kinds: Any) -> None:
    spec = kinds.create(make_job())["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert spec["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": "u-1",
        "batch.kubernetes.io/job-name": "x",
        "controller-uid": "u-1",
        "job-name": "x",
    }


def test_string_data_becomes_data(kinds: Any) -> None:
    secret = kinds.create(make("Secret", stringData={"a": "b"}, data={"a": "AA==", "c": "AA=="}))
    assert (secret["type"], secret["data"], "stringData" in secret) == (
        "Opaque",
        {"a": "Yg==", "c": "AA=="},
        False,
    )


class TestServiceAddresses:
    def test_a_service_takes_an_address_and_gives_it_back(self, kinds: Any) -> None:
        allocators = kinds.HandsOut()
        service = kinds.create(make_service(type="NodePort"), allocators)
        address, port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
        assert service["spec"]["clusterIPs"] == [address]
        assert allocators.taken == {address, port}
        assert kinds.definition_of("Service").holds(service) == ((address,), (port,))

    def test_an_update_without_addresses_keeps_them(self, kinds: Any) -> None:
        allocators = kinds.HandsOut()
        old = kinds.create(make_service(type="NodePort"), allocators)
        new = make_service(type="NodePort")
        definition = kinds.definition_of("Service")
        definition.default(new)
        definition.prepare_update(new, old)
        kinds.allocate(new, old, allocators)
        assert new["spec"] == old["spec"]

    def test_becoming_cluster_ip_gives_the_node_ports_back(self, kinds: Any) -> None:
        allocators = kinds.HandsOut()
        old = kinds.create(make_service(type="NodePort"), allocators)
        new = {
            **old,
            "spec": {**old["spec"], "type": "ClusterIP", "ports": [dict(p) for p in old["spec"]["ports"]]},
        }
        definition = kinds.definition_of("Service")
        definition.prepare_update(new, old)
        kinds.allocate(new, old, allocators)
        assert "nodePort" not in new["spec"]["ports"][0]
        assert allocators.taken == {old["spec"]["clusterIP"]}

    def test_a_headless_service_takes_none(self, kinds: Any) -> None:
        service = kinds.create(make_service(clusterIP="None", selector={"a": "b"}))
        assert (service["spec"]["clusterIP"], service["spec"]["clusterIPs"]) == ("None", ["None"])
        assert kinds.definition_of("Service").holds(service) == ((), ())


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.resource.qualified_name)
def test_every_definition_has_a_schema_and_a_cell_for_each_column(definition: Any) -> None:
    schema = schema_named(definition.schema)
    assert {"apiVersion", "kind", "metadata"} <= schema.properties.keys()
    obj: Object = {"kind": definition.resource.kind, "metadata": {"name": "x", "namespace": "n", "uid": "u"}}
    definition.default(obj)
    definition.prepare_create(obj)
    row = cells_of(definition, obj, 0.0)
    assert len(row) == len(definition.columns)
    for read in definition.field_selectors.values():
        assert isinstance(read(obj), str)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (245, "4m5s"), (3600, "60m"),
     (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (40 * 3600, "40h"), (50 * 3600, "2d2h"), (9 * 86400, "9d"),
     (800 * 86400, "2y70d")],
)  # fmt: skip
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


def test_long_lists_are_cut() -> None:
    assert some_of(["a", "b", "c", "d"], "-") == "a,b,c + 1 more..."
    assert some_of([], "-") == "-"
