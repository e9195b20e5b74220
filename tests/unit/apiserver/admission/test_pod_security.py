"""Namespaces say how safe their pods must be: levels, versions and modes of Pod Security."""

from __future__ import annotations

import pytest

from proa.apiserver.admission.pod_security.evaluation import NEWEST, evaluate
from proa.apiserver.admission.pod_security.levels import LATEST, LevelVersion, read_policy

PREFIX = "pod-security.kubernetes.io/"
SAFE_CONTEXT = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PLAIN = {"containers": [{"name": "c", "image": "x"}]}


def container(name="c", **context):
    return {"name": name, "image": "x", "securityContext": context}


def safe(name="c", **context):
    return container(name, **SAFE_CONTEXT | context)


def told(level, spec, minor=NEWEST, annotations=None):
    return [str(r) for r in evaluate(LevelVersion(level, minor), {"annotations": annotations or {}}, spec)]


BASELINE = {
    "hostNamespaces": (
        {"hostPID": True, "hostNetwork": True},
        "host namespaces (hostNetwork=true, hostPID=true)",
    ),
    "hostPath": ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
    "hostPorts": (
        {"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]},
        'hostPort (container "c" uses hostPorts 443, 80)',
    ),
    "privileged": (
        {"containers": [container("a", privileged=True), container("b", privileged=True)]},
        'privileged (containers "a", "b" must not set securityContext.privileged=true)',
    ),
    "capabilities": (
        {"containers": [container(capabilities={"add": ["NET_RAW", "KILL"]})]},
        'non-default capabilities (container "c" must not include "NET_RAW" in securityContext.capabilities.add)',
    ),
    "procMount": (
        {"containers": [container(procMount="Unmasked")]},
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    "seLinux": (
        {"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}},
        'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)',
    ),
    "seccomp": (
        {"containers": [container(seccompProfile={"type": "Unconfined"})]},
        'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    "appArmor": (
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
    ),
    "sysctls": (
        {"securityContext": {"sysctls": [{"name": "a.b"}, {"name": "net.ipv4.tcp_rmem"}]}},
        "forbidden sysctls (a.b)",
    ),
    "hostProcess": (
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    ),
    "probeHost": (
        {"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]},
        'probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")',
    ),
    "ephemeral": (
        {"ephemeralContainers": [container("e", privileged=True)]},
        'privileged (container "e" must not set securityContext.privileged=true)',
    ),
}
RESTRICTED = {
    "volumes": (
        {"containers": [safe()], "volumes": [{"name": "v", "nfs": {}}, {"name": "e", "emptyDir": {}}]},
        'restricted volume types (volume "v" uses restricted volume type "nfs")',
    ),
    "root": (
        {"containers": [safe(runAsUser=0)]},
        'runAsUser=0 (container "c" must not set runAsUser=0)',
    ),
    "not said to be non-root": (
        {"containers": [safe(runAsNonRoot=None)]},
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
    ),
    "said to be root": (
        {"containers": [safe(runAsNonRoot=False)]},
        'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
    ),
    "capabilities": (
        {"containers": [safe(capabilities={"add": ["KILL"]})]},
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]; '
        'container "c" must not include "KILL" in securityContext.capabilities.add)',
    ),
}


@pytest.mark.parametrize(("spec", "refusal"), BASELINE.values(), ids=BASELINE)
def test_baseline_forbids_what_reaches_the_host(spec, refusal):
    assert told("baseline", PLAIN | spec) == [refusal]
    assert told("privileged", PLAIN | spec) == []


@pytest.mark.parametrize(("spec", "refusal"), RESTRICTED.values(), ids=RESTRICTED)
def test_restricted_asks_for_more(spec, refusal):
    assert told("restricted", spec) == [refusal]
    assert told("baseline", spec) == []


def test_a_plain_pod_is_baseline_and_a_hardened_one_restricted():
    assert told("baseline", PLAIN) == []
    assert told("restricted", {"containers": [safe()]}) == []
    assert [said.partition(" (")[0] for said in told("restricted", PLAIN)] == [
        "allowPrivilegeEscalation != false",
        "unrestricted capabilities",
        "runAsNonRoot != true",
        "seccompProfile",
    ]


@pytest.mark.parametrize(
    ("minor", "spec", "is_allowed"),
    [
        (33, {"containers": [safe() | {"livenessProbe": {"tcpSocket": {"host": "h"}}}]}, True),
        (34, {"containers": [safe() | {"livenessProbe": {"tcpSocket": {"host": "h"}}}]}, False),
        (22, {"containers": [safe(runAsUser=0)]}, True),
        (23, {"containers": [safe(runAsUser=0)]}, False),
        (34, {"hostUsers": False, "containers": [safe(runAsUser=0)]}, False),
        (35, {"hostUsers": False, "containers": [safe(runAsUser=0)]}, True),
        (LATEST, {"hostUsers": False, "containers": [safe(runAsUser=0)]}, True),
        (24, {"os": {"name": "windows"}, "containers": [container(runAsNonRoot=True)]}, False),
        (25, {"os": {"name": "windows"}, "containers": [container(runAsNonRoot=True)]}, True),
    ],
)
def test_a_version_keeps_the_rules_of_its_time(minor, spec, is_allowed):
    assert (told("restricted", spec, minor) == []) == is_allowed


def test_old_versions_look_at_annotations():
    annotations = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    refusal = 'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    assert told("baseline", PLAIN, 18, annotations) == [refusal]
    assert told("baseline", PLAIN, 19, annotations) == []


def test_a_policy_is_read_from_labels():
    policy, causes = read_policy({f"{PREFIX}enforce": "baseline", f"{PREFIX}enforce-version": "v1.30"})
    assert causes == []
    assert (str(policy.enforce), str(policy.audit)) == ("baseline:v1.30", "privileged:latest")
    assert policy.warn == policy.enforce, "what is enforced is warned about"


def make_namespace(api, name, **labels):
    body = {
        "metadata": {"name": name, "labels": {PREFIX + k.replace("_", "-"): v for k, v in labels.items()}}
    }
    return api.post("/api/v1/namespaces", body)


def make_pod(api, namespace, name="p", **spec):
    api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
    return api.post(
        f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": PLAIN | spec}
    )


def test_a_pod_that_violates_is_refused_in_upstreams_words(api):
    make_namespace(api, "n", enforce="baseline")
    answer = make_pod(api, "n", hostNetwork=True)
    assert (answer.status, answer.message) == (
        403,
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)',
    )


def test_a_mode_that_only_warns_lets_it_in(api):
    make_namespace(api, "n", warn="baseline", warn_version="v1.30")
    answer = make_pod(api, "n", hostIPC=True)
    assert answer.status == 201
    assert 'would violate PodSecurity \\"baseline:v1.30\\": host namespaces' in answer.headers["Warning"]


def test_a_workload_whose_pods_would_be_refused_is_warned_of(api):
    make_namespace(api, "n", enforce="restricted")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": PLAIN}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    answer = api.post("/apis/apps/v1/namespaces/n/deployments", {"metadata": {"name": "d"}, "spec": spec})
    assert answer.status == 201
    assert "allowPrivilegeEscalation != false" in answer.headers["Warning"]


@pytest.mark.parametrize(
    ("label", "value", "why"),
    [
        ("enforce", "x", "must be one of privileged, baseline, restricted"),
        ("warn_version", "v2.0", 'must be \\"latest\\" or \\"v1.x\\"'),
    ],
)
def test_labels_that_say_nothing_known_are_invalid(api, label, value, why):
    answer = make_namespace(api, "n", **{label: value})
    assert answer.status == 422
    assert why in answer.raw.decode()


def test_a_level_that_rises_warns_of_pods_that_are_there(api):
    make_namespace(api, "n")
    for name in ("b", "a"):
        make_pod(api, "n", name, hostPID=True)
    labels = {"metadata": {"labels": {f"{PREFIX}enforce": "baseline"}}}
    answer = api.patch("/api/v1/namespaces/n", labels)
    assert answer.status == 200
    assert [line.split(" - ", 1)[1] for line in answer.headers["Warning"].split("\n")] == [
        '"existing pods in namespace \\"n\\" violate the new PodSecurity enforce level \\"baseline:latest\\""',
        '"a (and 1 other pod): host namespaces"',
    ]


def test_an_update_that_changes_no_image_is_not_looked_at(api):
    make_namespace(api, "n")
    make_pod(api, "n", hostPID=True)
    api.patch("/api/v1/namespaces/n", {"metadata": {"labels": {f"{PREFIX}enforce": "baseline"}}})
    path = "/api/v1/namespaces/n/pods/p"
    assert api.patch(path, {"metadata": {"labels": {"a": "b"}}}).status == 200
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "y"}]
    assert api.patch(path, image, "json").status == 403
