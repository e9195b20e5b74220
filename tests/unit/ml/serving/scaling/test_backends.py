"""Where a revision's requests may go: ports and probes of its pods."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.serving.records import Probe
from proa.ml.serving.scaling.annotations import ScalingSpec
from proa.ml.serving.scaling.backends import make_backends

Object = dict[str, Any]

HTTP = {"name": "http1", "port": 80, "targetPort": 8080}
H2C = {"name": "h2c", "port": 8081, "targetPort": 8081, "appProtocol": "kubernetes.io/h2c"}
READY = {"httpGet": {"path": "/v2/health/ready", "port": 8080}}


def service(*ports: Object) -> Object:
    return {"spec": {"ports": list(ports)}}


def pod(*containers: Object, ip: str = "10.244.1.9", phase: str = "Running") -> Object:
    status = {"podIP": ip, "phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers)}, "status": status}


MAIN = {"name": "kserve-container", "readinessProbe": READY}
TCP = {
    "name": "kserve-container",
    "ports": [{"containerPort": 8080}],
    "readinessProbe": {"tcpSocket": {"port": 8080}},
}
NAMED = {
    "name": "kserve-container",
    "ports": [{"name": "web", "containerPort": 9000}],
    "readinessProbe": {"httpGet": {"port": "web", "httpHeaders": [{"name": "Host", "value": "h"}]}},
}
AGENT = {
    "name": "agent",
    "ports": [{"containerPort": 9081}],
    "readinessProbe": {"httpGet": {"path": "/", "port": 9081}},
}
TLS = {"name": "c", "readinessProbe": {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTPS"}}}


@pytest.mark.parametrize(
    ("made", "containers", "http", "grpc", "probe"),
    [
        (service(HTTP, H2C), [MAIN], 8080, 8081, Probe(8080, "/v2/health/ready")),
        (service(HTTP), [TCP], 8080, 8080, Probe(8080)),
        (service({**HTTP, "targetPort": "web"}), [NAMED], 9000, 9000, Probe(9000, "/", "h")),
        (service({**HTTP, "targetPort": 9081}), [MAIN, AGENT], 9081, 9081, Probe(9081, "/")),
        (service(HTTP), [TLS], 8080, 8080, Probe(8080)),
        (service(H2C), [{"name": "c"}], 8081, 8081, Probe(8081)),
        (None, [MAIN], 8080, 8081, Probe(8080, "/v2/health/ready")),
    ],
    ids=["no ports declared", "TCP", "named", "agent", "TLS", "gRPC alone", "no Service"],
)
def test_a_pod_is_reached_as_its_service_says_and_asked_as_its_probe_does(
    made: Object | None, containers: list[Object], http: int, grpc: int, probe: Probe
) -> None:
    (backend,) = make_backends(ScalingSpec(), made, [pod(*containers)]).pods
    assert (backend.http_port, backend.grpc_port, backend.probe, backend.is_ready) == (
        http,
        grpc,
        probe,
        True,
    )


def test_pods_without_an_address_and_those_that_do_not_run_are_left_out() -> None:
    pods = [pod(MAIN, ip=""), pod(MAIN, phase="Pending"), pod(MAIN, phase="Failed")]
    assert make_backends(ScalingSpec(), service(HTTP), pods).pods == ()
