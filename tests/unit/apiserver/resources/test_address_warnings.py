"""Addresses that should be spelled otherwise, and what a Service says to no effect, are taken with a warning."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.resources.core.service_warnings import service_warnings
from proa.apiserver.resources.networking.networkpolicy import warnings as policy_warnings
from proa.objects.validation_addresses import cidr_warnings, ip_warnings


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        ("10.0.0.1", None),
        ("2001:db8::1", None),
        ("010.0.0.1", 'f: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"'),
        ("::ffff:10.0.0.1", 'f: non-standard IP address "::ffff:10.0.0.1" is invalid: use "10.0.0.1"'),
        (
            "2001:DB8:0::1",
            'f: IPv6 address "2001:DB8:0::1" should be in RFC 5952 canonical format ("2001:db8::1")',
        ),
    ],
)
def test_addresses(value: str, warning: str | None) -> None:
    assert ip_warnings("f", value) == ([warning] if warning else [])


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        ("10.0.0.0/8", None),
        (
            "10.1.2.3/8",
            'f: CIDR value "10.1.2.3/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.2.3/32"?)',
        ),
        ("10.0.0.0/08", 'f: non-standard CIDR value "10.0.0.0/08" is invalid: use "10.0.0.0/8"'),
        (
            "::ffff:10.0.0.0/104",
            'f: non-standard CIDR value "::ffff:10.0.0.0/104" is invalid: use "10.0.0.0/8"',
        ),
        (
            "2001:DB8::/64",
            'f: IPv6 CIDR value "2001:DB8::/64" should be in RFC 5952 canonical format ("2001:db8::/64")',
        ),
    ],
)
def test_networks(value: str, warning: str | None) -> None:
    assert cidr_warnings("f", value) == ([warning] if warning else [])


@pytest.mark.parametrize(
    ("spec", "warnings"),
    [
        ({"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}, []),
        (
            {
                "type": "ClusterIP",
                "clusterIP": "None",
                "externalIPs": ["1.2.3.4"],
                "sessionAffinity": "ClientIP",
            },
            [
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            {"type": "ClusterIP", "externalIPs": ["1.2.3.4"], "trafficDistribution": "PreferClose"},
            [
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"',
            ],
        ),
        (
            {"type": "LoadBalancer", "externalName": "a.b", "loadBalancerSourceRanges": ["10.1.2.3/8"]},
            [
                'spec.loadBalancerSourceRanges[0]: CIDR value "10.1.2.3/8" is ambiguous in this context (should be '
                '"10.0.0.0/8" or "10.1.2.3/32"?)',
                'spec.externalName is ignored when spec.type is not "ExternalName"',
            ],
        ),
    ],
    ids=["usual", "headless", "deprecated", "balanced"],
)
def test_services(spec: Any, warnings: list[str]) -> None:
    assert service_warnings({"metadata": {}, "spec": {"sessionAffinity": "None", **spec}}, None) == warnings


def test_network_policies() -> None:
    peer = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.2.3/16"]}}
    spec = {"podSelector": {}, "egress": [{"to": [peer]}]}
    assert policy_warnings({"metadata": {}, "spec": spec}, None) == [
        'spec.egress[0].to[0].ipBlock.except[0]: CIDR value "10.1.2.3/16" is ambiguous in this context (should be '
        '"10.1.0.0/16" or "10.1.2.3/32"?)'
    ]


def test_a_client_is_told(api: Any) -> None:
    port = {"port": 80, "protocol": "TCP"}
    body = {
        "metadata": {"name": "a"},
        "spec": {"ports": [port], "clusterIP": "None", "sessionAffinity": "ClientIP"},
    }
    answer = api.post("/api/v1/namespaces/default/services", body)
    assert "spec.SessionAffinity is ignored for headless services" in answer.headers["Warning"]
    names = {"metadata": {"name": "b"}, "addressType": "FQDN", "endpoints": [{"addresses": ["a.example"]}]}
    answer = api.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", names)
    assert "spec.addressType: FQDN endpoints are deprecated" in answer.headers["Warning"]
