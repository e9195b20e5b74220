"""Say in Envoy's words what it starts with: where everything else is found, its limits, and its metrics. Pure."""

from __future__ import annotations

from proa.network.gateway.envoy_config import (
    ADMIN_SOCKET,
    ENDPOINTS_SOCKET,
    HTTP_OPTIONS,
    MAX_CONNECTIONS,
    TYPE,
    Json,
    make_address,
    source,
)

STATS = ("server.", "cluster_manager.", "listener_manager.", "http.", "control_plane.")
CLUSTER_STATS = (
    *(
        f".upstream_rq_{what}"
        for what in ("total", "active", "time", "timeout", "retry", "2xx", "4xx", "5xx")
    ),
    *(f".upstream_cx_{what}" for what in ("total", "active", "connect_fail", "overflow")),
    ".outlier_detection.ejections_active",
    *(".membership_total", ".downstream_cx_total", ".downstream_cx_active", ".downstream_cx_overflow"),
    *(".downstream_global_cx_overflow", ".ssl.connection_error", ".ssl.handshake"),
)
"""Of hundreds of thousands of statistics that Envoy would keep, those that tell people something, or us."""


def make_bootstrap(metrics_address: tuple[str, int]) -> Json:
    """Return what Envoy starts with: where everything else is found, its limits, and its metrics at /metrics."""
    monitor = {
        "@type": f"{TYPE}extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": MAX_CONNECTIONS,
    }
    return {
        "node": {"id": "proa-gateway", "cluster": "proa"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "cds_config": source("cds.json"),
            "lds_config": source("lds.json"),
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "endpoints"}}],
            },
        },
        "cluster_manager": {"enable_deferred_cluster_creation": True},
        "static_resources": {
            "clusters": [_socket_cluster("admin", ADMIN_SOCKET), _endpoints_cluster()],
            "listeners": [_metrics_listener(metrics_address)],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": monitor,
                }
            ]
        },
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        *({"prefix": prefix} for prefix in STATS),
                        *({"suffix": suffix} for suffix in CLUSTER_STATS),
                    ]
                }
            }
        },
    }


def _socket_cluster(name: str, path: str) -> Json:
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _endpoints_cluster() -> Json:
    """Return our own Endpoint Discovery Service (endpoints.py)."""
    options = {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return _socket_cluster("endpoints", ENDPOINTS_SOCKET) | {
        "typed_extension_protocol_options": {HTTP_OPTIONS: options}
    }


def _metrics_listener(address: tuple[str, int]) -> Json:
    """Return a listener that has of the admin interface nothing but the metrics."""
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    route = {
        "match": {"path": "/metrics", "headers": [get]},
        "route": {
            "cluster": "admin",
            "timeout": "10s",
            "regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": "/stats/prometheus"},
        },
    }
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "metrics",
        "route_config": {
            "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": "metrics",
        "address": make_address(*address),
        "enable_reuse_port": False,
        "filter_chains": [chain],
    }
