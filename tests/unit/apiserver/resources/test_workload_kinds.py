"""The defaults, rules and rows of workloads, budgets, quotas and classes, as tables."""

from __future__ import annotations

import copy
from typing import Any

import pytest

Object = dict[str, Any]
SELECTOR = {"matchLabels": {"app": "a"}}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
NEGATIVE = "must be greater than or equal to 0"


def make(kind: str, api_version: str = "v1", **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "uid": "u-1"}, **fields}


def template(**spec: Any) -> Object:
    pod = {"containers": [{"name": "c", "image": "app:1"}], **spec}
    return {"metadata": {"labels": {"app": "a"}}, "spec": pod}


def given(defaults: Object, spec: Object) -> Object:
    return {key: value for key, value in {**defaults, **spec}.items() if value is not None}


def stateful_set(**spec: Any) -> Object:
    return make("StatefulSet", "apps/v1", spec=given({"selector": SELECTOR, "template": template()}, spec))


def daemon_set(**spec: Any) -> Object:
    return make("DaemonSet", "apps/v1", spec=given({"selector": SELECTOR, "template": template()}, spec))


def controller(**spec: Any) -> Object:
    return make("ReplicationController", spec=given({"template": template()}, spec))


def cron_job(**spec: Any) -> Object:
    job = {"spec": {"template": template(restartPolicy="Never")}}
    return make("CronJob", "batch/v1", spec=given({"schedule": "0 0 * * *", "jobTemplate": job}, spec))


def autoscaler(**spec: Any) -> Object:
    defaults = {"scaleTargetRef": TARGET, "maxReplicas": 3}
    return make("HorizontalPodAutoscaler", "autoscaling/v2", spec=given(defaults, spec))


def budget(**spec: Any) -> Object:
    return make("PodDisruptionBudget", "policy/v1", spec=spec)


def priority_class(name: str = "x", **fields: Any) -> Object:
    made = make("PriorityClass", "scheduling.k8s.io/v1", **fields)
    made["metadata"]["name"] = name
    return made


def limit_range(**item: Any) -> Object:
    return make("LimitRange", spec={"limits": [{"type": "Container", **item}]})


def quota(**spec: Any) -> Object:
    return make("ResourceQuota", spec=spec)


def claim(name: str = "d") -> Object:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": name}, "spec": wanted}


def mounting(name: str) -> Object:
    mounts = [{"name": name, "mountPath": "/d"}]
    return template(containers=[{"name": "c", "image": "x", "volumeMounts": mounts}])


MISMATCH = (
    'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'
)
UNSUPPORTED_ALWAYS = 'Unsupported value: "Never": supported values: "Always"'
RULES: list[tuple[str, Object, list[str]]] = [
    ("stateful", stateful_set(), []),
    ("stateful-replicas", stateful_set(replicas=-1), [f"spec.replicas: Invalid value: -1: {NEGATIVE}"]),
    ("stateful-no-selector", stateful_set(selector=None), ["spec.selector: Required value", MISMATCH]),
    (
        "stateful-all",
        stateful_set(selector={}),
        ["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"],
    ),
    (
        "stateful-policy",
        stateful_set(podManagementPolicy="Soon"),
        ["spec.podManagementPolicy: Invalid value: \"Soon\": must be 'OrderedReady' or 'Parallel'"],
    ),
    (
        "stateful-on-delete",
        stateful_set(updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": 1}}),
        [
            'spec.updateStrategy.rollingUpdate: Invalid value: {"MaxUnavailable":null,"Partition":1}: '
            "only allowed for updateStrategy 'RollingUpdate'"
        ],
    ),
    (
        "stateful-retention",
        stateful_set(persistentVolumeClaimRetentionPolicy={"whenScaled": "Keep"}),
        [
            'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Keep": '
            'supported values: "Retain", "Delete"'
        ],
    ),
    (
        "stateful-restart",
        stateful_set(template=template(restartPolicy="Never")),
        [f"spec.template.spec.restartPolicy: {UNSUPPORTED_ALWAYS}"],
    ),
    ("stateful-claim", stateful_set(template=mounting("d"), volumeClaimTemplates=[claim()]), []),
    (
        "stateful-no-claim",
        stateful_set(template=mounting("d")),
        ['spec.template.spec.containers[0].volumeMounts[0].name: Not found: "d"'],
    ),
    ("daemon", daemon_set(), []),
    ("daemon-no-selector", daemon_set(selector=None), [MISMATCH]),
    (
        "daemon-both",
        daemon_set(updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}),
        [
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: "
            "may not be set when maxUnavailable is non-zero"
        ],
    ),
    (
        "daemon-neither",
        daemon_set(updateStrategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
        [
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: "
            "cannot be 0 when maxSurge is 0"
        ],
    ),
    (
        "daemon-deadline",
        daemon_set(template=template(activeDeadlineSeconds=5)),
        [
            "spec.template.spec.activeDeadlineSeconds: Forbidden: "
            "activeDeadlineSeconds in DaemonSet is not Supported"
        ],
    ),
    ("controller", controller(), []),
    (
        "controller-no-template",
        controller(template=None),
        ["spec.selector: Required value", "spec.template: Required value"],
    ),
    ("controller-mismatch", controller(selector={"app": "b"}), [MISMATCH]),
    ("template", make("PodTemplate", template=template()), []),
    ("template-empty", make("PodTemplate", template={}), ["template.spec.containers: Required value"]),
    ("revision", make("ControllerRevision", "apps/v1", data={"a": 1}, revision=1), []),
    (
        "revision-empty",
        make("ControllerRevision", "apps/v1", revision=-1),
        ["data: Required value: data is mandatory", f"revision: Invalid value: -1: {NEGATIVE}"],
    ),
    ("cron", cron_job(), []),
    ("cron-zone", cron_job(timeZone="Europe/Paris"), []),
    ("cron-no-schedule", cron_job(schedule=None), ["spec.schedule: Required value"]),
    (
        "cron-minute",
        cron_job(schedule="61 * * * *"),
        ['spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61'],
    ),
    (
        "cron-zone-in-schedule",
        cron_job(schedule="CRON_TZ=UTC 0 0 * * *"),
        [
            'spec.schedule: Invalid value: "CRON_TZ=UTC 0 0 * * *": '
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        ],
    ),
    (
        "cron-unknown-zone",
        cron_job(timeZone="Europe/Pariss"),
        ['spec.timeZone: Invalid value: "Europe/Pariss": unknown time zone Europe/Pariss'],
    ),
    (
        "cron-path",
        cron_job(timeZone="../../etc/passwd"),
        ['spec.timeZone: Invalid value: "../../etc/passwd": unknown time zone ../../etc/passwd'],
    ),
    (
        "cron-local",
        cron_job(timeZone="local"),
        [
            'spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in '
            "https://www.iana.org/time-zones"
        ],
    ),
    (
        "cron-policy",
        cron_job(concurrencyPolicy="Maybe"),
        [
            'spec.concurrencyPolicy: Unsupported value: "Maybe": '
            'supported values: "Allow", "Forbid", "Replace"'
        ],
    ),
    (
        "cron-job",
        cron_job(jobTemplate={"spec": {"template": template(), "manualSelector": True}}),
        [
            'spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
            'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"',
        ],
    ),
    ("hpa", autoscaler(), []),
    (
        "hpa-none",
        autoscaler(scaleTargetRef=None, maxReplicas=None),
        [
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            "spec.scaleTargetRef.kind: Required value",
            "spec.scaleTargetRef.name: Required value",
            'spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group',
        ],
    ),
    (
        "hpa-old-controller",
        autoscaler(scaleTargetRef={"apiVersion": "v1", "kind": "ReplicationController", "name": "r"}),
        [],
    ),
    (
        "hpa-zero",
        autoscaler(minReplicas=0),
        [
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to "
            "zero replicas",
        ],
    ),
    (
        "hpa-metric",
        autoscaler(metrics=[{"type": "Pods", "external": {"metric": {}, "target": {"type": "Value"}}}]),
        [
            "spec.metrics[0].external.metric.name: Required value: must specify a metric name",
            "spec.metrics[0].external.target.averageValue: Required value: must set either a target value for metric "
            "or a per-pod target",
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
        ],
    ),
    (
        "hpa-behavior",
        autoscaler(behavior={"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}}),
        [
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: "
            "must be less than or equal to 1800",
        ],
    ),
    ("budget", budget(minAvailable="50%", selector=SELECTOR), []),
    (
        "budget-both",
        budget(minAvailable=1, maxUnavailable="101%"),
        [
            'spec: Invalid value: {"MaxUnavailable":"101%","MinAvailable":1,"Selector":null,'
            '"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set',
            'spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%',
        ],
    ),
    (
        "budget-policy",
        budget(unhealthyPodEvictionPolicy="Never"),
        [
            'spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": '
            'supported values: "AlwaysAllow", "IfHealthyBudget"'
        ],
    ),
    ("priority", priority_class(value=1_000_000_000), []),
    (
        "priority-high",
        priority_class(value=1_000_000_001),
        ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    ),
    ("priority-system", priority_class("system-node-critical", value=2_000_001_000), []),
    (
        "priority-reserved",
        priority_class("system-mine", value=1),
        [
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. "
            "error: system-mine is not a known system priority class"
        ],
    ),
    (
        "priority-wrong-system",
        priority_class("system-cluster-critical", value=1),
        [
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. "
            "error: value of system-cluster-critical PriorityClass must be 2000000000"
        ],
    ),
    (
        "priority-policy",
        priority_class(preemptionPolicy="Maybe"),
        ['preemptionPolicy: Unsupported value: "Maybe": supported values: "PreemptLowerPriority", "Never"'],
    ),
    ("limits", limit_range(max={"cpu": "2"}, min={"cpu": "1"}, maxLimitRequestRatio={"cpu": "2"}), []),
    (
        "limits-turned",
        limit_range(max={"cpu": "1"}, min={"cpu": "2"}),
        [
            'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
            'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": '
            "min value 2 is greater than default request value 1",
            'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
        ],
    ),
    (
        "limits-ratio",
        limit_range(max={"cpu": "2"}, min={"cpu": "1"}, maxLimitRequestRatio={"cpu": "3"}),
        [
            'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000'
        ],
    ),
    (
        "limits-pod",
        limit_range(type="Pod", default={"cpu": "1"}),
        ["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
    ),
    (
        "limits-claim",
        limit_range(type="PersistentVolumeClaim"),
        [
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, "
            "but neither was provided"
        ],
    ),
    (
        "limits-type",
        limit_range(type="Box"),
        ['spec.limits[0].type: Invalid value: "Box": must be a standard limit type or fully qualified'],
    ),
    ("quota", quota(hard={"requests.cpu": "100m", "count/secrets": "3", "pods": "2", "x.y/gpu": "1"}), []),
    (
        "quota-names",
        quota(hard={"boxes": "1"}),
        [
            'spec.hard[boxes]: Invalid value: "boxes": must be a standard resource type or fully qualified',
            'spec.hard[boxes]: Invalid value: "boxes": must be a standard resource for quota',
        ],
    ),
    (
        "quota-amounts",
        quota(hard={"pods": "1500m", "cpu": "-1"}),
        [
            'spec.hard[pods]: Invalid value: "1500m": must be an integer',
            f'spec.hard[cpu]: Invalid value: "-1": {NEGATIVE}',
        ],
    ),
    (
        "quota-scopes",
        quota(hard={"secrets": "1"}, scopes=["BestEffort", "NotBestEffort"]),
        [
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: unsupported scope applied to resource',
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: unsupported scope applied to resource',
            'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes',
        ],
    ),
    (
        "quota-selector",
        quota(scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}),
        [
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` "
            "is 'In' or 'NotIn' for scope selector"
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
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


STATEFUL_CHANGES = (
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
    "forbidden"
)
REQUESTS = {"hard": {"pods": "1"}, "scopes": ["Terminating"]}
UPDATES = [
    ("sts-service", stateful_set(), change("spec", "serviceName", to="s"), [STATEFUL_CHANGES]),
    ("sts-replicas", stateful_set(), change("spec", "replicas", to=7), []),
    ("sts-history", stateful_set(), change("spec", "revisionHistoryLimit", to=3), []),
    ("sts-image", stateful_set(), change("spec", "template", to=template(priority=1)), []),
    ("sts-bad-service", stateful_set(serviceName="No_Name"), change("spec", "replicas", to=7), []),
    (
        "ds-selector",
        daemon_set(),
        change("spec", "selector", "matchLabels", to={}),
        [
            "spec.selector: Invalid value: {\"matchLabels\":{}}: empty selector is invalid for daemonset",
            'spec.selector: Invalid value: {"matchLabels":{}}: field is immutable',
        ],
    ),
    (
        "revision-data",
        make("ControllerRevision", "apps/v1", data={"a": 1}),
        change("data", to={"a": 2}),
        ['data: Invalid value: {"a":2}: field is immutable'],
    ),
    (
        "priority-value",
        priority_class(value=1),
        change("value", to=2),
        ["value: Forbidden: may not be changed in an update."],
    ),
    ("priority-words", priority_class(value=1), change("description", to="x"), []),
    (
        "quota-scopes",
        quota(**REQUESTS),
        change("spec", "scopes", to=[]),
        ["spec.scopes: Invalid value: null: field is immutable"],
    ),
    ("cron-long-name", cron_job(), change("metadata", "name", to="x" * 60), []),
    ("rc-selector", controller(), change("spec", "selector", to={"app": "a"}), []),
]  # fmt: skip


@pytest.mark.parametrize(("old", "edit", "expected"), [u[1:] for u in UPDATES], ids=[u[0] for u in UPDATES])
def test_what_may_change(kinds: Any, old: Object, edit: Any, expected: list[str]) -> None:
    assert kinds.update_problems(old, edit) == expected


def test_what_is_left_out_is_filled_in_and_what_is_off_left_out(kinds: Any) -> None:
    off_by_default = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    spec = kinds.create(stateful_set(volumeClaimTemplates=[claim()], updateStrategy=off_by_default))["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert spec["volumeClaimTemplates"][0]["status"] == {"phase": "Pending"}
    assert kinds.create(daemon_set())["spec"]["updateStrategy"]["rollingUpdate"] == {
        "maxUnavailable": 1,
        "maxSurge": 0,
    }
    controller_spec = kinds.create(controller())
    assert (controller_spec["spec"]["selector"], controller_spec["metadata"]["labels"]) == (
        {"app": "a"},
        {"app": "a"},
    )
    cron = kinds.create(cron_job())["spec"]
    limits = cron["successfulJobsHistoryLimit"], cron["failedJobsHistoryLimit"]
    assert (cron["concurrencyPolicy"], cron["suspend"], limits) == ("Allow", False, (3, 1))
    behavior = kinds.create(autoscaler(behavior={}))["spec"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"] == {
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }


def test_limits_default_to_the_maximum_and_requests_to_the_limit(kinds: Any) -> None:
    (item,) = kinds.create(limit_range(max={"cpu": "2"}, min={"cpu": "1", "memory": "1Mi"}))["spec"]["limits"]
    assert item["default"] == {"cpu": "2"}
    assert item["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}


def test_a_daemon_set_counts_the_changes_of_its_template(kinds: Any) -> None:
    key = "deprecated.daemonset.template.generation"
    definition = kinds.definition_of("DaemonSet")
    old = kinds.create(daemon_set())
    new = copy.deepcopy(old)
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "app:2"
    del new["metadata"]["annotations"]
    definition.default(new)
    definition.prepare_update(new, old)
    counted = [obj["metadata"]["annotations"][key] for obj in (old, new)]
    assert counted == ["1", "2"]


def metric(kind: str, field: str, target: Object, **source: Any) -> Object:
    return {"type": kind, field: {"target": target, **source}}


METRICS = [
    metric("Resource", "resource", {"averageUtilization": 80}, name="cpu"),
    metric("Pods", "pods", {"averageValue": "1500m"}, metric={"name": "rps"}),
    metric("External", "external", {"averageValue": "5"}, metric={"name": "q"}),
]
MEASURED = [metric("Resource", "resource", {}, current={"averageUtilization": 40}, name="cpu")]
ROWS = [
    (stateful_set(replicas=3), {"readyReplicas": 1}, ("x", "1/3", "<unknown>", "c", "app:1")),
    (
        daemon_set(template=template(nodeSelector={"a": "b"})),
        {"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1},
        ("x", 3, 2, 1, 0, 0, "a=b", "<unknown>", "c", "app:1", "app=a"),
    ),
    (controller(replicas=2), {"replicas": 1}, ("x", 2, 1, 0, "<unknown>", "c", "app:1", "app=a")),
    (
        cron_job(timeZone="UTC", suspend=True),
        {"active": [{}], "lastScheduleTime": "1970-01-01T00:00:00Z"},
        ("x", "0 0 * * *", "UTC", "True", 1, "60s", "<unknown>", "c", "app:1", "<none>"),
    ),
    (
        autoscaler(metrics=METRICS),
        {"currentMetrics": MEASURED, "currentReplicas": 2},
        ("x", "Deployment/d", "cpu: 40%/80%, <unknown>/1500m + 1 more...", "1", 3, 2, "<unknown>"),
    ),
    (budget(minAvailable="50%"), {"disruptionsAllowed": 2}, ("x", "50%", "N/A", 2, "<unknown>")),
    (
        quota(hard={"pods": "2"}),
        {"hard": {"pods": "2", "limits.cpu": "1"}, "used": {"pods": "1"}},
        ("x", "pods: 1/2", "limits.cpu: 0/1", "<unknown>"),
    ),
]


@pytest.mark.parametrize(("obj", "status", "row"), ROWS, ids=[r[0]["kind"] for r in ROWS])
def test_kubectl_get_shows(kinds: Any, obj: Object, status: Object, row: tuple[Any, ...]) -> None:
    stored = {**kinds.create(obj), "status": status}
    assert tuple(kinds.definition_of(obj["kind"]).cells(stored, 60.0)) == row


def test_a_revision_shows_whose_it_is(kinds: Any) -> None:
    revision = make("ControllerRevision", "apps/v1", data={}, revision=3)
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": True}
    revision["metadata"]["ownerReferences"] = [owner]
    assert tuple(kinds.definition_of("ControllerRevision").cells(revision, 0.0))[1] == "statefulset.apps/web"


STATUSES = [
    ("StatefulSet", {"replicas": 1, "readyReplicas": 2}, "status.readyReplicas"),
    ("StatefulSet", {"replicas": 2, "availableReplicas": 1}, "status.availableReplicas"),
    ("DaemonSet", {"numberReady": -1}, "status.numberReady"),
    ("ReplicationController", {"replicas": -1}, "status.replicas"),
    ("HorizontalPodAutoscaler", {"desiredReplicas": -1}, "status.desiredReplicas"),
    ("PodDisruptionBudget", {"expectedPods": -1}, "status.expectedPods"),
    ("PodDisruptionBudget", {"conditions": [{"type": "A"}]}, "status.conditions[0].status"),
    ("ResourceQuota", {"used": {"boxes": "1"}}, "status.used[boxes]"),
]


@pytest.mark.parametrize(("kind", "status", "field"), STATUSES, ids=[f"{k}-{f}" for k, _, f in STATUSES])
def test_a_status_that_cannot_be_is_refused(kinds: Any, kind: str, status: Object, field: str) -> None:
    causes = kinds.definition_of(kind).validate_status_update({"status": status}, {"status": {}})
    assert field in [cause.field for cause in causes]


WARNINGS = [
    (controller(template=template(nodeSelector={"beta.kubernetes.io/os": "linux"})),
     'spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'),
    (daemon_set(template=template(containers=[{
        "name": "c", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}])),
     'spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be unexpected'),
    (stateful_set(revisionHistoryLimit=-1),
     "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"),
    (cron_job(jobTemplate={"spec": {"template": template(
        restartPolicy="Never", volumes=[{"name": "v", "gitRepo": {"repository": "x"}}])}}),
     "spec.jobTemplate.spec.template.spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"),
    (make("PodTemplate", template=template(containers=[{
        "name": "c", "image": "x", "resources": {"limits": {"memory": "100m"}}}])),
     'template.spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, '
     "must be an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "text"), WARNINGS, ids=[w[0]["kind"] for w in WARNINGS])
def test_what_is_doubtful_is_warned_of_once(kinds: Any, obj: Object, text: str) -> None:
    made = kinds.create(obj)
    warn = kinds.definition_of(obj["kind"]).warnings
    assert warn(made, None) == [text]
    if obj["kind"] != "StatefulSet":
        assert warn(made, made) == []


def test_a_limit_range_without_a_name_gets_one(api: Any) -> None:
    answer = api.post("/api/v1/namespaces/default/limitranges", {"spec": {"limits": []}})
    assert (answer.status, len(answer.json["metadata"]["name"])) == (201, 36)


def test_a_budget_is_not_replaced_unseen(api: Any) -> None:
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    made = api.post(path, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1}}).json
    assert api.put(f"{path}/b", made).status == 200
    del made["metadata"]["resourceVersion"]
    answer = api.put(f"{path}/b", made)
    assert (answer.status, "metadata.resourceVersion" in answer.message) == (422, True)
