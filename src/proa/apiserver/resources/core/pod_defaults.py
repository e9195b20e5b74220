"""Fill in what a pod's author left out (pkg/apis/core/v1/defaults.go).

`default_template` is for pod templates of every kind, `default_pod` for pods themselves, which get a little more.
"""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.objects.pods import POD_LEVEL_RESOURCES, total_resources

DEFAULT_MODE = 0o644


def default_pod(pod: Object) -> None:
    """Default a Pod: its spec, and requests from limits, service links and host ports."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    for container in _all_containers(spec):
        _default_requests(container["resources"])
    if "resources" in spec:
        _default_pod_requests(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
            for port in container.get("ports", ()):
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)


def default_template(template: Object) -> None:
    """Default a PodTemplateSpec."""
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def default_pod_spec(spec: Object) -> None:
    """Default what pods and pod templates have in common."""
    _fill(spec, "dnsPolicy", "ClusterFirst")
    _fill(spec, "restartPolicy", "Always")
    _fill(spec, "schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:  # the deprecated name mirrors the other
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes", ()):
        _default_volume(volume)
    for container in _all_containers(spec):
        _default_container(container)


def pull_policy_for(image: str) -> str:
    """Return the pull policy of an image that has none: Always for `latest`, said or implied."""
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def _all_containers(spec: Object) -> list[Object]:
    return [c for key in ("containers", "initContainers", "ephemeralContainers") for c in spec.get(key, ())]


def _fill(obj: Object, key: str, value: Any) -> None:
    if not obj.get(key):
        obj[key] = value


def _default_container(container: Object) -> None:
    _fill(container, "imagePullPolicy", pull_policy_for(container.get("image", "")))
    _fill(container, "terminationMessagePath", "/dev/termination-log")
    _fill(container, "terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports", ()):
        _fill(port, "protocol", "TCP")
    for variable in container.get("env", ()):
        _default_field_reference(variable.get("valueFrom") or {})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _default_probe(container[name])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict) and "httpGet" in handler:
            _default_http_get(handler["httpGet"])


def _default_probe(probe: Object) -> None:
    _fill(probe, "timeoutSeconds", 1)
    _fill(probe, "periodSeconds", 10)
    _fill(probe, "successThreshold", 1)
    _fill(probe, "failureThreshold", 3)
    if "httpGet" in probe:
        _default_http_get(probe["httpGet"])
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _default_http_get(action: Object) -> None:
    _fill(action, "path", "/")
    _fill(action, "scheme", "HTTP")


def _default_requests(resources: Object) -> None:
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _default_pod_requests(spec: Object) -> None:
    """The pod's requests are what its containers ask for together, else its limits, once it has limits at all."""
    resources = spec["resources"]
    if resources.get("limits"):
        requests = resources.setdefault("requests", {})
        for name, amount in total_resources({**spec, "resources": {}}, "requests").items():
            if name in POD_LEVEL_RESOURCES:
                requests.setdefault(name, amount)
        _default_requests(resources)


def _default_field_reference(source: Object) -> None:
    if "fieldRef" in source:
        _fill(source["fieldRef"], "apiVersion", "v1")


def _default_volume(volume: Object) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        if kind in volume:
            volume[kind].setdefault("defaultMode", DEFAULT_MODE)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    for item in (volume.get("downwardAPI") or {}).get("items", ()):
        _default_field_reference(item)
    for source in (volume.get("projected") or {}).get("sources", ()):
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in (source.get("downwardAPI") or {}).get("items", ()):
            _default_field_reference(item)
    if "ephemeral" in volume and "volumeClaimTemplate" in volume["ephemeral"]:
        _fill(volume["ephemeral"]["volumeClaimTemplate"].setdefault("spec", {}), "volumeMode", "Filesystem")
    if "image" in volume:
        _fill(volume["image"], "pullPolicy", pull_policy_for(volume["image"].get("reference", "")))
    if "iscsi" in volume:
        _fill(volume["iscsi"], "iscsiInterface", "default")
