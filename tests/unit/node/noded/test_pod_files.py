"""A pod's hosts and resolv.conf are as kubelet and containerd write them."""

from __future__ import annotations

import signal
from dataclasses import asdict

import pytest

from proa.node.noded.decode import container_from, sandbox_from
from proa.node.noded.pod_files import hosts_file, resolv_conf
from proa.node.runtimes.native import signal_number
from proa.node.runtimes.protocol import Container, ContainerConfig, Mount, Sandbox, SandboxConfig, Security

CONFIG = SandboxConfig(
    "default", "web", "uid", "web-0",
    dns_servers=("10.96.0.10",), dns_searches=("a", "b"), dns_options=("ndots:5", "edns0"),
    host_aliases=(("1.2.3.4", ("one", "two")),),
)  # fmt: skip


def test_hosts_name_the_pod_and_its_aliases() -> None:
    text = hosts_file("10.244.1.2", asdict(CONFIG))
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert text.endswith("10.244.1.2\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\tone\ttwo\n")


def test_hosts_name_the_pod_in_full_first_where_it_has_a_domain() -> None:
    config = {**asdict(CONFIG), "domain_name": "web-0.web.default.svc.cluster.local"}
    assert "\n10.244.1.2\tweb-0.web.default.svc.cluster.local\tweb-0\n" in hosts_file("10.244.1.2", config)


def test_resolv_conf_has_what_the_pod_asks_for() -> None:
    assert resolv_conf(asdict(CONFIG)) == "search a b\nnameserver 10.96.0.10\noptions ndots:5 edns0\n"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", signal.SIGTERM),
        ("INT", signal.SIGINT),
        ("9", 9),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("nonsense", signal.SIGTERM),
    ],
)
def test_stop_signals(name: str, number: int) -> None:
    assert signal_number(name) == number


def test_records_come_back_as_they_were_sent() -> None:
    sandbox = Sandbox("id", CONFIG, "10.244.1.2", "Ready", 1.5)
    assert sandbox_from(through_json(asdict(sandbox))) == sandbox
    config = ContainerConfig(
        "c",
        "i",
        ("sh", "-c"),
        (("A", "b"),),
        mounts=(Mount("/a", "/b", True),),
        security=Security(drop_capabilities=("ALL",)),
    )
    container = Container("id", "sandbox", config, "Running", 1.0, 2.0)
    assert container_from(through_json(asdict(container))) == container


def through_json(value: dict[str, object]) -> dict[str, object]:
    import json

    return dict(json.loads(json.dumps(value)))
