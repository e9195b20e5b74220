"""Pods and pod templates: what is refused, on creation and on a change, and what is warned of."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from proa.apiserver.resources.core.pod_warnings import pod_warnings

Object = dict[str, Any]
C = "spec.containers[0]"
TERMS = "requiredDuringSchedulingIgnoredDuringExecution"
NODE_TERMS = f"spec.affinity.nodeAffinity.{TERMS}.nodeSelectorTerms"
LONG_SEARCH = "[" + ",".join(['"' + "x" * 250 + '"'] * 9) + "]"
PROFILE_TYPES = '"Localhost", "RuntimeDefault", "Unconfined"'
GATED: Object = {"schedulingGates": [{"name": "a.io/g"}]}


def make_pod(container: Object | None = None, annotations: Object | None = None, **spec: Any) -> Object:
    main = {"name": "c", "image": "app:1", **(container or {})}
    pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    if annotations:
        pod["metadata"]["annotations"] = annotations
    return {**pod, "spec": {"containers": [main], **spec}}


def volume(**source: Any) -> Object:
    return make_pod(volumes=[{"name": "v", **source}])


def mounting(**mount: Any) -> Object:
    mounts = [{"name": "v", "mountPath": "/v", **mount}]
    return make_pod({"volumeMounts": mounts}, volumes=[{"name": "v", "emptyDir": {}}])


def security(**context: Any) -> Object:
    return make_pod(securityContext=context)


def container_security(**context: Any) -> Object:
    return make_pod({"securityContext": context})


def spread(**constraint: Any) -> Object:
    known = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    return make_pod(topologySpreadConstraints=[{**known, **constraint}])


def near(**term: Any) -> Object:
    selector = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone"}
    return make_pod(affinity={"podAffinity": {TERMS: [{**selector, **term}]}})


def on_nodes(**expression: Any) -> Object:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", **expression}]}]}
    return make_pod(affinity={"nodeAffinity": {TERMS: terms}})


def restarting(*rules: Object, **fields: Any) -> Object:
    return make_pod({"restartPolicyRules": list(rules), **fields})


def variable(**source: Any) -> Object:
    return make_pod({"env": [{"name": "A", "valueFrom": source}]})


RULES: list[tuple[Object, list[str]]] = [
    # volumes
    (volume(nfs={"server": "s", "path": "x"}),
     ['spec.volumes[0].nfs.path: Invalid value: "x": must be an absolute path']),
    (volume(csi={"driver": ""}),
     ["spec.volumes[0].csi.driver: Required value",
      'spec.volumes[0].csi.driver: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case '
      "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
      "'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'"
      ")"]),
    (volume(image={}), ["spec.volumes[0].image.reference: Required value"]),
    (volume(iscsi={"targetPortal": "h", "iqn": "x", "lun": 300}),
     ['spec.volumes[0].iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa',
      "spec.volumes[0].iscsi.lun: Invalid value: 300: must be between 0 and 255, inclusive"]),
    (volume(ephemeral={"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}),
     ["spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set"]),
    (make_pod(volumes=[{"name": "v", "projected": {"sources": [
        {"configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}},
        {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}}]}}]),
     ['spec.volumes[0].projected: Invalid value: "s": conflicting duplicate paths']),
    (volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
     ["spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when "
      "serviceAccountName is not set"]),
    # mounts
    (mounting(subPath="../x"), [f"{C}.volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'"]),
    (mounting(mountPropagation="Bidirectional"),
     [f"{C}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged "
      "containers"]),
    (mounting(recursiveReadOnly="Enabled"),
     [f"{C}.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"]),
    (make_pod({"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}, volumes=[{"name": "v", "emptyDir": {}}]),
     [f'{C}.volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or '
      "Ephemeral for block mode"]),
    # environment
    (variable(fieldRef={"fieldPath": "spec.host"}),
     [f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.host": error converting fieldPath: field label '
      "not supported: spec.host"]),
    (variable(fieldRef={"fieldPath": "metadata.labels['a b']"}),
     [f"{C}.env[0].valueFrom.fieldRef: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', "
      "'_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
      "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"]),
    (variable(resourceFieldRef={"resource": "limits.cpu", "divisor": "2"}),
     [f'{C}.env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor\'s values 1m and 1 '
      "are supported with the cpu resource"]),
    (make_pod({"envFrom": [{"configMapRef": {}}]}), [f"{C}.envFrom[0].configMapRef.name: Required value"]),
    (make_pod({"envFrom": [{}]}),
     [f'{C}.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`']),
    # restarts, hooks, resize
    (restarting({"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}),
     [f"{C}.restartPolicy: Required value: must specify restartPolicy when restart rules are used"]),
    (restarting({"action": "Stop", "exitCodes": {"operator": "Is", "values": [3]}}, restartPolicy="Never"),
     [f'{C}.restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", '
      '"RestartAllContainers"',
      f'{C}.restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"']),
    (make_pod({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
     [f"{C}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than "
      "terminationGracePeriodSeconds (30)"]),
    (make_pod({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}, restartPolicy="Never"),
     [f'{C}.resizePolicy: Invalid value: "RestartContainer": must be \'NotRequired\' when `restartPolicy` is '
      "'Never'"]),
    # resources
    (make_pod({"resources": {"limits": {"hugepages-2Mi": "3Mi"}}}),
     [f'{C}.resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of '
      "hugepages-2Mi",
      f'{C}.resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of '
      "hugepages-2Mi", f"{C}.resources: Forbidden: HugePages require cpu or memory"]),
    (make_pod({"resources": {"claims": [{"name": "x"}]}}),
     [f'{C}.resources.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty']),
    (make_pod(resourceClaims=[{"name": "x"}]),
     ['spec.resourceClaims[0]: Invalid value: {"Name":"x","ResourceClaimName":null,"ResourceClaimTemplateName":null}: '
      "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"]),
    (make_pod({"resources": {"requests": {"cpu": "2"}}}, resources={"requests": {"cpu": "1"}}),
     ['spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests '
      "of 2"]),
    (make_pod({"resources": {"requests": {"memory": "1Gi"}}}, resources={"limits": {"cpu": "1", "memory": "2Gi"}}), []),
    (make_pod(resources={"limits": {"storage": "1"}}),
     ['spec.resources.limits[storage]: Unsupported value: "storage": supported values: "cpu", "hugepages-", "memory"',
      'spec.resources.requests[storage]: Unsupported value: "storage": supported values: "cpu", "hugepages-", "memory"']
     ),
    # networks and names
    (make_pod({"ports": [{"containerPort": 80, "hostPort": 81}]}, hostNetwork=True),
     [f"{C}.ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"]),
    (make_pod(dnsPolicy="None"),
     ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
    (make_pod(dnsConfig={"searches": [".", "a_b.example.com."]}), []),
    (make_pod(dnsConfig={"searches": ["x" * 250] * 9}),
     [f"spec.dnsConfig.searches: Invalid value: {LONG_SEARCH}: must not have more than "
      "2048 characters (including spaces) in the search list"]),
    (make_pod(hostAliases=[{"ip": "010.0.0.1"}]),
     ['spec.hostAliases[0].ip: Invalid value: "010.0.0.1": must not have leading 0s']),
    # scheduling
    (on_nodes(values=["a b"]),
     [f"{NODE_TERMS}[0].matchExpressions[0].values[0]: Invalid value: \"a b\": a valid label must be an empty string "
      "or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
      "(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
      "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"]),
    (spread(minDomains=2, whenUnsatisfiable="ScheduleAnyway"),
     ["spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if "
      "whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"]),
    (spread(nodeTaintsPolicy="Some"),
     ['spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: "Some": supported values: "Honor", '
      '"Ignore"']),
    (spread(matchLabelKeys=["a"]),
     ["spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not "
      "set"]),
    (near(matchLabelKeys=["x"], mismatchLabelKeys=["x"]),
     [f'spec.affinity.podAffinity.{TERMS}[0].matchLabelKeys[0]: Invalid value: "x": exists in both matchLabelKeys and '
      "mismatchLabelKeys"]),
    (make_pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
     ["spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'"]),
    # security
    (security(sysctls=[{"name": "A"}, {"name": "a.b", "value": "1"}, {"name": "a.b", "value": "1"}]),
     ['spec.securityContext.sysctls[0].name: Invalid value: "A": must have at most 253 characters and match regex '
      "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
      'spec.securityContext.sysctls[2].name: Duplicate value: "a.b"']),
    ({**make_pod(hostNetwork=True, securityContext={"sysctls": [{"name": "net/ipv4/x", "value": "1"}]})},
     ['spec.securityContext.sysctls[0].name: Invalid value: "net/ipv4/x": may not be specified when \'hostNetwork\' is '
      "true"]),
    (security(seccompProfile={"type": "Localhost"}),
     ["spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is "
      "Localhost"]),
    (security(seccompProfile={"type": "None"}),
     [f'spec.securityContext.seccompProfile.type: Unsupported value: "None": supported values: {PROFILE_TYPES}']),
    (security(appArmorProfile={"type": "RuntimeDefault", "localhostProfile": "x"}),
     ['spec.securityContext.appArmorProfile.localhostProfile: Invalid value: "x": can only be set when AppArmor type '
      "is Localhost"]),
    (security(supplementalGroupsPolicy="Some"),
     ['spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Some": supported values: "Merge", "Strict"']),
    (container_security(procMount="Unmasked"),
     [f'{C}.securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`']),
    (make_pod(hostUsers=False, hostPID=True), ["spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false"]),
    (container_security(windowsOptions={"runAsUserName": "a\\b\\c"}),
     [f'{C}.securityContext.windowsOptions.runAsUserName: Invalid value: "a\\\\b\\\\c": runAsUserName cannot contain '
      "more than one backslash"]),
    (container_security(windowsOptions={"hostProcess": True}),
     ["spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"]),
    (make_pod(os={"name": "plan9"}),
     ['spec.os: Unsupported value: "plan9": supported values: "linux", "windows"']),
    (make_pod({"securityContext": {"privileged": True}}, os={"name": "windows"}),
     [f"{C}.securityContext.privileged: Forbidden: cannot be set for a windows pod"]),
    # annotations
    (make_pod(annotations={"controller.kubernetes.io/pod-deletion-cost": "+1"}),
     ['metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+1": must be a 32bit '
      "integer"]),
    (make_pod(annotations={"kubernetes.io/config.mirror": "x"}),
     ['metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod '
      "annotation is set"]),
    (make_pod(annotations={"container.apparmor.security.beta.kubernetes.io/d": "x"}),
     ['metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "d": container not found',
      'metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "x": invalid AppArmor '
      'profile name: "x"']),
    (make_pod({"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
              {"container.seccomp.security.alpha.kubernetes.io/c": "runtime/default"}),
     [f"{C}.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match"]),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "expected"), RULES, ids=range(len(RULES)))
def test_a_pod_is_refused_for(pod: Object, expected: list[str], kinds: Any) -> None:
    assert kinds.problems(pod) == expected


def as_deployment(pod: Object) -> Object:
    template = {"metadata": {**pod["metadata"], "labels": {"a": "b"}}, "spec": pod["spec"]}
    template["metadata"].pop("name")
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


TEMPLATES: list[tuple[Object, list[str]]] = [
    (make_pod({"ports": [{"containerPort": 80}]}, hostNetwork=True), []),
    (make_pod({"image": " "}), []),
    (volume(image={}), []),
    (volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}), []),
    (make_pod(annotations={"controller.kubernetes.io/pod-deletion-cost": "a"}),
     ['spec.template.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "a": must be a 32bit '
      "integer"]),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "expected"), TEMPLATES, ids=range(len(TEMPLATES)))
def test_a_template_may_leave_more_open_than_a_pod(pod: Object, expected: list[str], kinds: Any) -> None:
    assert kinds.problems(as_deployment(pod)) == expected


def spec_change(**fields: Any) -> Any:
    return lambda pod: pod["spec"].update(fields)


def one_node(value: str) -> Object:
    term = {"matchExpressions": [{"key": "a", "operator": "In", "values": [value]}]}
    return {"nodeAffinity": {TERMS: {"nodeSelectorTerms": [term]}}}


CHANGES: list[tuple[Object, Any, list[str]]] = [
    (make_pod(activeDeadlineSeconds=9), spec_change(activeDeadlineSeconds=10),
     ["spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value"]),
    (make_pod(), spec_change(schedulingGates=[{"name": "a.io/x"}]),
     ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.io/x'"]),
    (make_pod(**GATED, nodeSelector={"a": "b"}), spec_change(nodeSelector={"a": "b", "c": "d"}), []),
    (make_pod(**GATED, nodeSelector={"a": "b"}), spec_change(nodeSelector={"c": "d"}),
     ['spec.nodeSelector: Invalid value: {"c":"d"}: only additions to spec.nodeSelector are allowed (no mutations or '
      "deletions)"]),
    (make_pod(**GATED), spec_change(affinity=one_node("x")), []),
    (make_pod(**GATED, affinity=one_node("x")), spec_change(affinity=one_node("y")),
     [f'{NODE_TERMS}[0]: Invalid value: {{"matchExpressions":[{{"key":"a","operator":"In","values":["y"]}}]}}: only '
      "additions are allowed (no mutations or deletions)"]),
    (make_pod(), lambda pod: pod["metadata"].update(annotations={"kubernetes.io/config.mirror": "x"}),
     ['metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod '
      "annotation is set",
      "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"]),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "change", "expected"), CHANGES, ids=range(len(CHANGES)))
def test_a_change_of_a_pod_is_refused_for(pod: Object, change: Any, expected: list[str], kinds: Any) -> None:
    assert kinds.update_problems(pod, change) == expected


ENDED = {"name": "c", "state": {"terminated": {"exitCode": 1}}}
STATUSES: list[tuple[Object, Object, Object, list[str]]] = [
    (make_pod(), {"containerStatuses": [ENDED]}, {"containerStatuses": [{"name": "c", "state": {}}]}, []),
    (make_pod(restartPolicy="Never"), {"containerStatuses": [ENDED]},
     {"containerStatuses": [{"name": "c", "state": {}}]},
     ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]),
    (make_pod({"restartPolicy": "Always"}, restartPolicy="Never"), {"containerStatuses": [ENDED]},
     {"containerStatuses": [{"name": "c", "state": {}}]}, []),
    (make_pod(), {}, {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]},
     ['status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: may specify no more than one IP for each '
      "IP family"]),
    (make_pod(), {}, {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}], "hostIP": "10.0.0.1",
                      "hostIPs": [{"ip": "10.0.0.1"}]}, []),
    (make_pod(), {}, {"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]},
     ['status.hostIPs[0].ip: Invalid value: "10.0.0.2": must be equal to `hostIP`']),
    (make_pod(), {}, {"resourceClaimStatuses": [{"name": "x"}]},
     ['status.resourceClaimStatuses[0].name: Invalid value: "x": must match the name of an entry in '
      "`spec.resourceClaims`"]),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "before", "after", "expected"), STATUSES, ids=range(len(STATUSES)))
def test_a_status_is_refused_for(
    pod: Object, before: Object, after: Object, expected: list[str], kinds: Any
) -> None:
    old = {**kinds.create(pod), "status": before}
    new = {**copy.deepcopy(old), "status": after}
    causes = kinds.definition_of("Pod").validate_status_update(new, old)
    assert [f"{c.field}: {c.message}" for c in causes] == expected


APPARMOR = "container.apparmor.security.beta.kubernetes.io/c"
WARNINGS: list[tuple[Object, list[str]]] = [
    (make_pod(), []),
    (make_pod(annotations={"scheduler.alpha.kubernetes.io/critical-pod": ""}),
     ["metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "
      '"priorityClassName" field instead']),
    (make_pod(annotations={APPARMOR: "unconfined"}), []),
    (make_pod(hostAliases=[{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]),
     ['spec.hostAliases[1].ip: duplicate ip "1.1.1.1"']),
    (make_pod({"ports": [{"containerPort": 80, "protocol": "TCP"}] * 2}),
     [f"{C}.ports[1]: duplicate port definition with {C}.ports[0]"]),
    (make_pod({"ports": [{"containerPort": 80}, {"containerPort": 80, "hostPort": 80}]}),
     [f"{C}.ports[1]: overlapping port definition with {C}.ports[0]"]),
    (make_pod({"ports": [{"containerPort": 80, "hostIP": "1.1.1.1", "protocol": "TCP"}]}),
     [f"{C}.ports[0]: hostIP set without hostPort: {{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.1.1.1}}"]),
    (make_pod(affinity={"podAntiAffinity": {TERMS: [{"topologyKey": "zone"}]}}),
     [f"spec.affinity.podAntiAffinity.{TERMS}[0].labelSelector: a null labelSelector results in matching no pod"]),
    (make_pod(affinity={"nodeAffinity": {TERMS: {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "Exists"}]}]}}}),
     [f"{NODE_TERMS}[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "
      '"kubernetes.io/os" instead']),
    (make_pod(overhead={"memory": "1500m"}),
     ['spec.overhead[memory]: fractional byte value "1500m" is invalid, must be an integer']),
    (make_pod(volumes=[{"name": "v", "projected": {"sources": [
        {"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s", "items": [{"key": "k", "path": "t"}]}}]}}]),
     ['spec.volumes[0].projected.sources.secrets[0]: has duplicated path with ServiceAccountToken "t"']),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "expected"), WARNINGS, ids=range(len(WARNINGS)))
def test_a_pod_is_warned_of(pod: Object, expected: list[str]) -> None:
    assert pod_warnings(pod) == expected


def test_a_template_is_told_of_its_apparmor_annotations(kinds: Any) -> None:
    deployment = kinds.create(as_deployment(make_pod(annotations={APPARMOR: "unconfined"})))
    (said,) = kinds.definition_of("Deployment").warnings(deployment, None)
    assert said.startswith(f"spec.template.metadata.annotations[{APPARMOR}]: deprecated since v1.30")
