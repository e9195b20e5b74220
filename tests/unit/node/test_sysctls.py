"""Which sysctls a pod may set."""

from __future__ import annotations

from typing import Any

import pytest

from proa.node.sysctls import pod_sysctls, why_forbidden


def pod_with(*names: str, **spec: Any) -> dict[str, Any]:
    sysctls = [{"name": name, "value": "1"} for name in names]
    return {"spec": {"securityContext": {"sysctls": sysctls}, **spec}}


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        ({"spec": {}}, ""),
        (pod_with("net.ipv4.tcp_syncookies", "kernel.shm_rmid_forced"), ""),
        (pod_with("net/ipv4/tcp_syncookies"), ""),
        (pod_with("kernel.core_pattern"), 'forbidden sysctl: "kernel.core_pattern" not allowlisted'),
        (pod_with("kernel/core_pattern"), 'forbidden sysctl: "kernel.core_pattern" not allowlisted'),
        (pod_with("net.core.somaxconn"), 'forbidden sysctl: "net.core.somaxconn" not allowlisted'),
        (
            pod_with("net.ipv4.tcp_rmem", hostNetwork=True),
            'forbidden sysctl: "net.ipv4.tcp_rmem" not allowed with host net enabled',
        ),
    ],
    ids=[
        "none",
        "safe",
        "with slashes",
        "the whole machine's",
        "the same with slashes",
        "unsafe",
        "host network",
    ],
)
def test_only_safe_sysctls_are_allowed(pod: dict[str, Any], why: str) -> None:
    assert why_forbidden(pod) == why


def test_a_name_with_slashes_keeps_the_dots_of_its_parts() -> None:
    assert pod_sysctls(pod_with("net/ipv4/conf/eth0.100/forwarding")) == {
        "net.ipv4.conf.eth0/100.forwarding": "1"
    }
