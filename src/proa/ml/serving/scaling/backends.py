"""Say where a revision's requests may go: the ports of its running pods that its Service leads to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proa.ml.serving.kinds import GRPC_PORT, HTTP_PORT, MAIN_CONTAINER
from proa.ml.serving.records import Backend, Backends, Probe
from proa.ml.serving.scaling.annotations import ScalingSpec
from proa.objects import meta, pods

Object = dict[str, Any]

_H2_PROTOCOLS = ("kubernetes.io/h2c", "grpc")
_H2_NAMES = ("grpc", "h2c")


def make_backends(spec: ScalingSpec, service: Object | None, revision_pods: Iterable[Object]) -> Backends:
    """Return the pods that run, by name; without a Service, at the ports that every server of ours has."""
    found = [
        _make_backend(service, pod)
        for pod in revision_pods
        if pods.pod_ip(pod) and pods.phase(pod) == "Running"
    ]
    return Backends(tuple(sorted(found)), spec.container_concurrency, spec.timeout_seconds)


def is_http2(port: Object) -> bool:
    """Tell whether a Service's port is for gRPC, or other HTTP/2 without TLS."""
    protocol = port.get("appProtocol")
    return protocol in _H2_PROTOCOLS if protocol else (port.get("name") or "").startswith(_H2_NAMES)


def _make_backend(service: Object | None, pod: Object) -> Backend:
    ports = ((service or {}).get("spec") or {}).get("ports") or []
    plain, http2 = [p for p in ports if not is_http2(p)], [p for p in ports if is_http2(p)]
    first, second = (plain or http2)[:1], (http2 or plain)[:1]
    http = _target(first[0], pod) if first else HTTP_PORT
    grpc = _target(second[0], pod) if second else GRPC_PORT
    probed = http if plain or not http2 else grpc
    return Backend(meta.name(pod), pods.pod_ip(pod), http, grpc, _make_probe(pod, probed), pods.is_ready(pod))


def _target(port: Object, pod: Object) -> int:
    """Return the pod's number of a Service's port."""
    target = port.get("targetPort") or port.get("port") or HTTP_PORT
    if isinstance(target, int):
        return target
    named = (
        declared.get("containerPort")
        for container in _serving_containers(pod)
        for declared in container.get("ports") or ()
        if declared.get("name") == target
    )
    return int(next(named, None) or HTTP_PORT)


def _make_probe(pod: Object, port: int) -> Probe:
    """Return what the container behind the port says of its readiness; only HTTP without TLS can be asked here."""
    container = _container_of(pod, port)
    asked = (container.get("readinessProbe") or {}).get("httpGet")
    if not asked or (asked.get("scheme") or "HTTP") != "HTTP":
        return Probe(port)
    headers = {h["name"].lower(): h["value"] for h in asked.get("httpHeaders") or ()}
    number = _named_port(container, asked.get("port"))
    return Probe(number or port, asked.get("path") or "/", headers.get("host", ""))


def _container_of(pod: Object, port: int) -> Object:
    """Return the container that declares the port, or is asked there; else the main one: nobody has to declare any."""
    containers = _serving_containers(pod)
    declaring = (c for c in containers for p in c.get("ports") or () if p.get("containerPort") == port)
    asked = (
        c for c in containers if ((c.get("readinessProbe") or {}).get("httpGet") or {}).get("port") == port
    )
    main = (c for c in containers if c.get("name") == MAIN_CONTAINER)
    return next(iter((*declaring, *asked, *main, *containers)), {})


def _named_port(container: Object, port: int | str | None) -> int:
    if isinstance(port, int):
        return port
    named = (d["containerPort"] for d in container.get("ports") or () if d.get("name") == port)
    return int(next(named, 0))


def _serving_containers(pod: Object) -> list[Object]:
    return [*pods.containers(pod), *(c for c in pods.init_containers(pod) if pods.is_sidecar(c))]
