from __future__ import annotations

import pytest

from proa.objects import pods


def make_container(cpu: str = "", **fields):
    return {"name": "c", "resources": {"requests": {"cpu": cpu}} if cpu else {}, **fields}


def make_pod(*containers, **spec):
    return {"spec": {"containers": list(containers), **spec}}


@pytest.mark.parametrize(
    ("pod", "cpu"),
    [
        pytest.param(make_pod(make_container("100m"), make_container("1")), 1100, id="containers add up"),
        pytest.param(
            make_pod(make_container("100m"), initContainers=[make_container("2")]),
            2000,
            id="the largest init container",
        ),
        pytest.param(
            make_pod(
                make_container("100m"),
                initContainers=[make_container("1", restartPolicy="Always"), make_container("2")],
            ),
            3000,
            id="an init container runs beside the sidecars before it",
        ),
        pytest.param(
            make_pod(make_container("500m"), initContainers=[make_container("1", restartPolicy="Always")]),
            1500,
            id="sidecars run beside containers",
        ),
        pytest.param(make_pod(make_container("1"), overhead={"cpu": "250m"}), 1250, id="overhead"),
        pytest.param(
            make_pod(make_container("1"), resources={"requests": {"cpu": "3"}}), 3000, id="pod level"
        ),
        pytest.param(make_pod({"resources": {"limits": {"cpu": "2"}}}), 2000, id="a limit is a request too"),
    ],
)
def test_a_pod_requests(pod, cpu):
    assert pods.resource_requests(pod) == {"cpu": cpu}


def test_cpu_is_in_thousandths_and_all_else_in_units():
    requests = {"cpu": "1500m", "memory": "1Gi", "example.com/gpu": "2"}
    assert pods.resource_requests(make_pod({"resources": {"requests": requests}})) == {
        "cpu": 1500,
        "memory": 1024**3,
        "example.com/gpu": 2,
    }


def test_host_ports_are_those_asked_for_or_all_with_host_network():
    ports = [
        {"containerPort": 80},
        {"containerPort": 81, "hostPort": 8081, "hostIP": "127.0.0.1", "protocol": "UDP"},
    ]
    assert pods.host_ports(make_pod({"ports": ports})) == [("127.0.0.1", "UDP", 8081)]
    assert pods.host_ports(make_pod({"ports": ports[:1]}, hostNetwork=True)) == [("0.0.0.0", "TCP", 80)]


@pytest.mark.parametrize(
    ("phase", "deleting", "terminated", "active"),
    [
        ("Running", False, False, True),
        ("Running", True, False, False),
        ("Failed", False, True, False),
        (None, False, False, True),
    ],
)
def test_a_pod_is_active_until_it_ends_or_is_deleted(phase, deleting, terminated, active):
    pod = {
        "metadata": {"deletionTimestamp": "x"} if deleting else {},
        "status": {"phase": phase} if phase else {},
    }
    assert (pods.is_terminated(pod), pods.is_active(pod)) == (terminated, active)


def test_a_pod_without_status_is_pending_unready_and_nowhere():
    pod = make_pod()
    assert (pods.phase(pod), pods.pod_ip(pod), pods.node_name(pod), pods.is_ready(pod)) == (
        "Pending",
        "",
        "",
        False,
    )
