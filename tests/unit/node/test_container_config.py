"""What the runtime is asked for: argv, user, limits, sandbox, DNS, images."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proa.node import app_armor
from proa.node.container_config import make_argv, make_security
from proa.node.environment import ConfigError
from proa.node.images.aliases import ALIASES, HOST_IMAGE, describe_alias, find_alias
from proa.node.resources import (
    container_resources,
    cpu_shares,
    hugepage_limits,
    oom_score_adj,
    pod_resources,
    qos_class,
)
from proa.node.runtimes.protocol import Image, Security
from proa.node.sandbox_config import Dns, domain_name_of, hostname_of, make_dns, read_resolv_conf
from proa.node.seccomp_profiles import SeccompProfile, find_profile
from proa.node.settings import KubeletSettings
from proa.node.unsupported import unsupported_fields

IMAGE = Image("i", "i@sha256:1", 1, entrypoint=("entry",), command=("cmd", "x"))
SETTINGS = KubeletSettings("proa-1", Path("/nonexistent"))
GIB = 1 << 30


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({}, ("entry", "cmd", "x")),
        ({"args": ["a"]}, ("entry", "a")),
        ({"command": ["c"]}, ("c",)),
        ({"command": ["c"], "args": ["$(A)", "$$(A)"]}, ("c", "1", "$(A)")),
    ],
)
def test_command_and_args_replace_the_images(container: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert make_argv(container, IMAGE, {"A": "1"}) == expected


def test_an_image_without_a_program_needs_a_command() -> None:
    with pytest.raises(ConfigError, match="no command specified"):
        make_argv({}, Image("i", "i", 1), {})


def make_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "team", "uid": "u1"},
        "spec": {"containers": containers, **spec},
    }


def test_a_containers_security_context_wins_over_the_pods() -> None:
    pod = make_pod(securityContext={"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]})
    own = {
        "runAsUser": 9,
        "capabilities": {"add": ["CAP_NET_ADMIN"], "drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }

    assert make_security(pod, {"name": "app", "securityContext": own}, IMAGE) == Security(
        run_as_user=9,
        run_as_group=2,
        supplemental_groups=(4, 3),
        read_only_root=True,
        add_capabilities=("NET_ADMIN",),
        drop_capabilities=("ALL",),
    )


@pytest.mark.parametrize(
    ("own", "image_user", "message"),
    [
        ({"runAsNonRoot": True}, "", "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True}, "nobody", "image has non-numeric user (nobody)"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "", "container's runAsUser breaks non-root policy"),
    ],
)
def test_root_is_refused_where_it_must_not_be(own: dict[str, Any], image_user: str, message: str) -> None:
    image = Image("i", "i", 1, user=image_user)
    with pytest.raises(ConfigError) as caught:
        make_security(make_pod(), {"name": "app", "securityContext": own}, image)

    assert message in str(caught.value)
    assert str(caught.value).endswith('(pod: "web_team(u1)", container: app)')


@pytest.mark.parametrize(
    ("of_pod", "own", "expected"),
    [
        (None, None, SeccompProfile()),
        ({"type": "Unconfined"}, None, SeccompProfile(unconfined=True)),
        ({"type": "Unconfined"}, {"type": "RuntimeDefault"}, SeccompProfile()),
        (None, {"type": "Localhost", "localhostProfile": "a/b.json"}, SeccompProfile(json="{}")),
    ],
)
def test_the_seccomp_profile_is_the_containers_or_the_pods(
    tmp_path: Path, of_pod: dict[str, Any] | None, own: dict[str, Any] | None, expected: SeccompProfile
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text("{}")
    pod = make_pod(securityContext={"seccompProfile": of_pod})

    assert find_profile(pod, {"securityContext": {"seccompProfile": own}}, tmp_path) == expected


def test_a_seccomp_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    asked = {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}}
    with pytest.raises(
        ConfigError, match=r'cannot load seccomp profile ".*none.json": open .*: no such file'
    ):
        find_profile(make_pod(), {"securityContext": asked}, tmp_path)


@pytest.mark.parametrize("kind", ["RuntimeDefault", "Localhost"])
def test_app_armor_is_refused_where_the_kernel_has_none(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(app_armor, "ENABLED", Path("/nonexistent"))
    own = {"name": "app", "securityContext": {"appArmorProfile": {"type": kind, "localhostProfile": "p"}}}

    assert app_armor.why_refused(make_pod(own)) == (
        "Cannot enforce AppArmor: AppArmor is not enabled on the host"
    )
    assert app_armor.why_refused(make_pod({"name": "app"})) == ""


# Resources


def sized(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"name": "app", "resources": {"requests": requests or {}, "limits": limits or {}}}


BOTH = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("container", "quality", "score"),
    [
        (sized(), "BestEffort", 1000),
        (sized(BOTH, BOTH), "Guaranteed", -997),
        (sized(None, BOTH), "Guaranteed", -997),
        (sized({"memory": "1Gi"}), "Burstable", 875),
        (sized({"memory": "1Ki"}), "Burstable", 999),
        (sized({"cpu": "1"}), "Burstable", 999),
        (sized({"memory": "8Gi"}), "Burstable", 3),
    ],
)
def test_quality_of_service_and_oom_score(container: dict[str, Any], quality: str, score: int) -> None:
    pod = make_pod(container)

    assert qos_class(pod) == quality
    assert oom_score_adj(pod, container, 8 * GIB) == score


@pytest.mark.parametrize(("millis", "shares"), [(0, 2), (1, 2), (100, 102), (1000, 1024), (10**9, 262144)])
def test_cpu_shares(millis: int, shares: int) -> None:
    assert cpu_shares(millis) == shares


def test_limits_become_cgroup_settings() -> None:
    container = sized({"memory": "32Mi"}, {"cpu": "500m", "memory": "64Mi"})

    found = container_resources(make_pod(container), container, GIB)

    assert (found.cpu_shares, found.cpu_quota_millis, found.memory_limit_bytes) == (512, 500, 64 << 20)


OVERHEAD = {"cpu": "100m", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("made", "spec", "expected"),
    [
        ([sized()], {}, (2, 0, 0)),
        ([sized(BOTH, BOTH), sized(BOTH, BOTH)], {}, (2048, 2000, 2 << 30)),
        ([sized(BOTH, BOTH), sized(BOTH)], {}, (2048, 0, 0)),
        ([sized(BOTH, BOTH)], {"overhead": OVERHEAD}, (1126, 1100, 2 << 30)),
        ([sized(BOTH)], {"resources": {"limits": {"cpu": "3", "memory": "3Gi"}}}, (1024, 3000, 3 << 30)),
        ([sized(BOTH, BOTH)], {"initContainers": [{**sized(None, {"cpu": "4", "memory": "1Gi"}), "name": "i"}]},
         (4096, 4000, 1 << 30)),
    ],
    ids=["nothing", "all limited", "one unlimited", "overhead", "limits of the pod", "a large init container"],
)  # fmt: skip
def test_a_pods_group_has_the_limits_of_all_of_it(
    made: list[dict[str, Any]], spec: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    found = pod_resources(make_pod(*made, **spec))

    assert (found.cpu_shares, found.cpu_quota_millis, found.memory_limit_bytes) == expected


def test_huge_pages_are_limited_by_their_size() -> None:
    limits = {"hugepages-2Mi": "4Mi", "hugepages-1Gi": "2Gi", "hugepages-64Ki": "64Ki", "cpu": "1"}

    assert hugepage_limits(limits) == {"2MB": 4 << 20, "1GB": 2 << 30, "64KB": 64 << 10}


@pytest.mark.parametrize(
    ("spec", "container", "expected"),
    [
        ({}, {}, []),
        ({"shareProcessNamespace": True, "hostUsers": False, "runtimeClassName": "runc"}, {}, []),
        ({}, {"resources": {"limits": {"hugepages-2Mi": "4Mi"}}}, []),
        ({"securityContext": {"seLinuxOptions": {"type": "t"}}}, {}, ["spec.securityContext.seLinuxOptions"]),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, {}, []),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, {}, []),
        ({"volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]}, {}, []),
        ({}, {"resources": {"limits": {"ephemeral-storage": "1Mi"}}}, []),
        (
            {},
            {"resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}},
            ["spec.containers{app}.resources.limits.nvidia.com/gpu"],
        ),
        ({}, {"securityContext": {"procMount": "Default"}}, []),
        ({}, {"ports": [{"containerPort": 80, "hostPort": 80}]}, []),
    ],
)
def test_what_has_no_effect_is_named(
    spec: dict[str, Any], container: dict[str, Any], expected: list[str]
) -> None:
    assert unsupported_fields(make_pod({"name": "app", **container}, **spec)) == expected


# The sandbox


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {},
            Dns(
                ("10.96.0.10",),
                ("team.svc.cluster.local", "svc.cluster.local", "cluster.local"),
                ("ndots:5",),
            ),
        ),
        (
            {
                "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]},
            },
            Dns(("1.1.1.1",), (), ("ndots:2",)),
        ),
        (
            {
                "dnsConfig": {
                    "searches": ["my.dns"],
                    "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
                }
            },
            Dns(
                ("10.96.0.10",),
                ("team.svc.cluster.local", "svc.cluster.local", "cluster.local", "my.dns"),
                ("ndots:1", "edns0"),
            ),
        ),
    ],
)
def test_resolv_conf(spec: dict[str, Any], expected: Dns) -> None:
    assert make_dns(make_pod(**spec), replace(SETTINGS, resolv_conf=Path("/nowhere"))) == expected


@pytest.mark.parametrize(
    ("spec", "servers", "searches", "options"),
    [
        (
            {},
            ("10.96.0.10",),
            ("team.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"),
            ("ndots:5",),
        ),
        ({"dnsPolicy": "Default"}, ("10.96.0.10", "192.0.2.53"), ("corp.example",), ("rotate",)),
        ({"hostNetwork": True}, ("10.96.0.10", "192.0.2.53"), ("corp.example",), ("rotate",)),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            ("10.96.0.10",),
            ("team.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"),
            ("ndots:5",),
        ),
    ],
)
def test_what_the_host_has_is_reached_as_pods_can(
    spec: dict[str, Any],
    servers: tuple[str, ...],
    searches: tuple[str, ...],
    options: tuple[str, ...],
    tmp_path: Path,
) -> None:
    path = tmp_path / "resolv.conf"
    servers_there = "nameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver 169.254.169.254\n"
    path.write_text(f"{servers_there}search corp.example.\noptions rotate\n")
    dns = make_dns(make_pod(**spec), replace(SETTINGS, resolv_conf=path))
    assert dns == Dns(servers, searches, options)


def test_searches_are_bounded() -> None:
    config = {"searches": [f"{number:060}.example" for number in range(60)]}
    dns = make_dns(make_pod(dnsPolicy="None", dnsConfig=config), SETTINGS)
    assert len(dns.searches) <= 32
    assert len(" ".join(dns.searches)) <= 2048


def test_the_nodes_own_resolv_conf(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# x\nnameserver 8.8.8.8\nsearch a b\noptions ndots:1 rotate\n")

    assert read_resolv_conf(path) == Dns(("8.8.8.8",), ("a", "b"), ("ndots:1", "rotate"))
    assert read_resolv_conf(tmp_path / "none") == Dns()


@pytest.mark.parametrize(
    ("spec", "name", "expected"),
    [
        ({}, "web", "web"),
        ({"hostname": "h"}, "web", "h"),
        ({"hostNetwork": True}, "web", "proa-1"),
        ({}, "a" * 62 + "-bcd", "a" * 62),
    ],
)
def test_the_hostname(spec: dict[str, Any], name: str, expected: str) -> None:
    pod = make_pod(**spec)
    pod["metadata"]["name"] = name

    assert hostname_of(pod, "proa-1") == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ""),
        ({"subdomain": "web"}, "web-0.web.default.svc.cluster.local"),
        ({"subdomain": "web", "hostnameOverride": "web-0.elsewhere"}, ""),
    ],
)
def test_a_pod_in_a_subdomain_has_a_full_name(spec: dict[str, Any], expected: str) -> None:
    pod = make_pod(**spec)
    pod["metadata"]["namespace"] = "default"

    assert domain_name_of(pod, "web-0", "cluster.local") == expected


# Images


@pytest.mark.parametrize(
    ("image", "is_alias"),
    [
        ("python:3.11", True),
        ("python:3.12-slim", True),
        ("docker.io/library/python:3.11", True),
        ("python:3.11.17-slim-bookworm", True),
        ("public.ecr.aws/docker/library/python:3.12", True),
        ("registry.access.redhat.com/ubi9/python-311:latest", True),
        ("registry.access.redhat.com/ubi9/nodejs-20:latest", False),
        ("python:3.11-alpine", False),
        ("python", True),
        ("ghcr.io/library/python:3.11", False),
        ("python:2.7", False),
        ("nginx", False),
        ("mypython:3.11", False),
    ],
)
def test_which_images_stand_for_this_machines_python(image: str, is_alias: bool) -> None:
    assert bool(find_alias(image, ALIASES)) == is_alias


@pytest.mark.parametrize(
    "image", ["pytorch/pytorch", "docker.io/pytorch/pytorch:2.7.1-cuda12.8-cudnn9-runtime"]
)
def test_pytorchs_images_stand_for_it_where_it_has_pytorch(image: str) -> None:
    assert find_alias(image, ALIASES, with_torch=True) == HOST_IMAGE
    assert find_alias(image, ALIASES, with_torch=False) == ""
    assert find_alias(image, {}, with_torch=True) == ""


def test_an_alias_of_another_python_says_which_one_runs() -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"

    assert f"it is Python {here}, not 3.7" in describe_alias("python:3.7-slim", HOST_IMAGE)
    assert f"it is Python {here}, not 3.7" in describe_alias("quay.io/ubi9/python-37:latest", HOST_IMAGE)
    assert "not" not in describe_alias(f"python:{here}.4", HOST_IMAGE)
    assert "not" not in describe_alias("python:slim", HOST_IMAGE)
