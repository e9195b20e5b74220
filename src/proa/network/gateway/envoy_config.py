"""Say doors, routes and backends in Envoy's words (its v3 API, as JSON). Pure.

Paths are relative to the folder that Envoy works in (`xds.py`). What nobody asked about is set as Envoy's advice for
proxies at the edge has it (docs: configuration/best_practices/edge).
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from proa.network.gateway.certificates import Certificate
from proa.network.gateway.model import (
    ANY_HOST,
    HTTP,
    BackendKey,
    Cors,
    Door,
    HeaderEdits,
    ObjectKey,
    PathChange,
    PathMatch,
    Redirect,
    Route,
    Target,
    ValueMatch,
)

Json = dict[str, Any]

ACCESS_LOG = "logs/access.log"
ADMIN_SOCKET = "admin.sock"
ENDPOINTS_SOCKET = "endpoints.sock"
NOWHERE = "nowhere"
"""A cluster that there is not: requests to it are answered with 500."""
MAX_CONNECTIONS = 10_000
BUFFER_BYTES = 1 << 20
HEADERS_KB = 60
CONNECT_SECONDS = 5
UPSTREAM_IDLE_SECONDS = 4
"""Less than common servers keep idle connections for (uvicorn, Node.js: 5 s), so that none is used as it is closed."""
IDLE_SECONDS = 3600
HEADERS_SECONDS = 60
RETRY_ON = "connect-failure,refused-stream,reset-before-request"
"""Only what no backend has seen is sent again, so that this is harmless for any method."""
RETRIES = 3
REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
SCHEME_PORTS = {"http": 80, "https": 443}
STATS = ("server.", "cluster_manager.", "listener_manager.", "http.", "control_plane.")
CLUSTER_STATS = (
    *(
        f".upstream_rq_{what}"
        for what in ("total", "active", "time", "timeout", "retry", "2xx", "4xx", "5xx")
    ),
    *(f".upstream_cx_{what}" for what in ("total", "active", "connect_fail", "overflow")),
    *(".membership_total", ".downstream_cx_total", ".downstream_cx_active", ".downstream_cx_overflow"),
    *(".downstream_global_cx_overflow", ".ssl.connection_error", ".ssl.handshake"),
)
"""Of hundreds of thousands of statistics that Envoy would keep, those that tell people something, or us."""
_TYPE = "type.googleapis.com/envoy."
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def file_name(kind: str, name: str) -> str:
    """Return where a resource is found, whatever characters its name has."""
    return f"{kind}/{hashlib.blake2s(name.encode(), digest_size=12).hexdigest()}.json"


def response(type_url: str, resources: Sequence[Json], version: str) -> Json:
    """Return the message by which Envoy takes resources over."""
    typed = [{"@type": type_url, **resource} for resource in resources]
    return {"version_info": version, "type_url": type_url, "resources": typed}


CLUSTER = f"{_TYPE}config.cluster.v3.Cluster"
LISTENER = f"{_TYPE}config.listener.v3.Listener"
ROUTES = f"{_TYPE}config.route.v3.RouteConfiguration"
ENDPOINTS = f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment"


def _source(path: str) -> Json:
    return {"path_config_source": {"path": f"./{path}"}, "resource_api_version": "V3"}


# Backends


@functools.lru_cache(maxsize=16384)
def make_cluster(backend: BackendKey) -> Json:
    """Return the cluster that stands for a backend; it is not to be changed."""
    name = str(backend)
    http: Json = {"http2_protocol_options": {}} if backend.is_http2 else {"http_protocol_options": {}}
    limits = {"max_connections": MAX_CONNECTIONS, "max_pending_requests": MAX_CONNECTIONS}
    limits |= {"max_requests": MAX_CONNECTIONS, "max_retries": 100}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [limits]},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_SECONDS}s"},
                "explicit_http_config": http,
            }
        },
    }


def _address(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


# Routes


def make_routes(name: str, door: Door, public_ports: Mapping[int, int]) -> Json:
    """Return the routes behind a door. `public_ports` says which port the host has for each port of a listener."""
    hosts = [
        {
            "name": host or "*",
            "domains": [host or "*"],
            "routes": [_make_route(route, door, public_ports) for route in routes],
        }
        for host, routes in sorted(door.sites.items())
    ]
    return {"name": name, "virtual_hosts": hosts, "ignore_port_in_host_matching": True}


def _make_route(route: Route, door: Door, public_ports: Mapping[int, int]) -> Json:
    made: Json = {"name": route.name, "match": _make_match(route)}
    if route.redirect is not None:
        made["redirect"] = _make_redirect(route, route.redirect, door, public_ports)
    elif not route.targets:
        made["direct_response"] = {"status": route.status}
    else:
        made["route"] = _make_action(route)
        made |= _edits("request", route.request_headers)
    made |= _edits("response", route.response_headers)
    if route.cors is not None:
        made["typed_per_filter_config"] = {"envoy.filters.http.cors": _make_cors(route.cors)}
    return made


def _make_match(route: Route) -> Json:
    match: Json = _path_match(route.path)
    headers = [_value_match(header) for header in route.headers]
    if route.method:
        headers.append({"name": ":method", "string_match": {"exact": route.method}})
    if route.label_only:
        pattern = rf"[^.]+\.{re.escape(route.label_only)}(:[0-9]+)?"
        headers.append({"name": ":authority", "string_match": {"safe_regex": {"regex": f"(?i){pattern}"}}})
    if headers:
        match["headers"] = headers
    if route.queries:
        match["query_parameters"] = [_value_match(query) for query in route.queries]
    if route.is_grpc:
        match["grpc"] = {}
    return match


def _path_match(path: PathMatch) -> Json:
    if path.kind == "exact":
        return {"path": path.value}
    if path.kind == "regex":
        return {"safe_regex": {"regex": path.value}}
    if path.value == "/":
        return {"prefix": "/"}
    if {"?", "#"} & {*path.value}:  # no path has them, and Envoy refuses all routes for one such prefix
        return {"path": path.value}
    return {"path_separated_prefix": path.value}


def _value_match(match: ValueMatch) -> Json:
    how: Json = {"safe_regex": {"regex": match.value}} if match.is_regex else {"exact": match.value}
    return {"name": match.name, "string_match": how}


def _make_action(route: Route) -> Json:
    action: Json = {
        "weighted_clusters": {"clusters": [_share(target) for target in route.targets]},
        "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
        "timeout": _seconds(route.timeout_seconds),
        "retry_policy": {
            "retry_on": RETRY_ON,
            "num_retries": RETRIES,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": f"{_TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 5,
        },
    }
    if route.backend_timeout_seconds:
        action["retry_policy"]["per_try_timeout"] = _seconds(route.backend_timeout_seconds)
    if route.rewrite is not None:
        if route.rewrite.hostname:
            action["host_rewrite_literal"] = route.rewrite.hostname
        if route.rewrite.path is not None:
            action["regex_rewrite"] = _rewrite(route.path, route.rewrite.path)
    if route.mirrors:
        action["request_mirror_policies"] = [
            {
                "cluster": str(mirror.backend),
                "runtime_fraction": {"default_value": _fraction(mirror.numerator, mirror.denominator)},
            }
            for mirror in route.mirrors
        ]
    return action


def _share(target: Target) -> Json:
    share: Json = {
        "name": str(target.backend) if target.backend is not None else NOWHERE,
        "weight": target.weight,
    }
    share |= _edits("request", target.request_headers)
    return share | _edits("response", target.response_headers)


def _fraction(numerator: int, denominator: int) -> Json:
    """Return a fraction in millionths, which is the finest that Envoy has."""
    return {"numerator": min(round(numerator * 1e6 / denominator), 1_000_000), "denominator": "MILLION"}


def _seconds(seconds: float | None) -> str:
    return f"{seconds or 0:.3f}s"


def _rewrite(match: PathMatch, change: PathChange) -> Json:
    """Return the rewrite of a path: as a whole, or of the prefix that was matched."""
    new = change.value.replace("\\", r"\\")
    if change.kind == "full":
        return {"pattern": {"regex": "^.*$"}, "substitution": new}
    old = match.value.rstrip("/")
    stripped = new.rstrip("/")
    if not stripped:
        return {"pattern": {"regex": f"^{re.escape(old)}/*(.*)$"}, "substitution": r"/\1"}
    if not old:
        return {"pattern": {"regex": "^/*(.*)$"}, "substitution": rf"{stripped}/\1"}
    return {"pattern": {"regex": f"^{re.escape(old)}(.*)$"}, "substitution": rf"{stripped}\1"}


def _make_redirect(route: Route, redirect: Redirect, door: Door, public_ports: Mapping[int, int]) -> Json:
    scheme = redirect.scheme or door.key.protocol.lower()
    made: Json = {"response_code": REDIRECT_CODES[redirect.status]}
    if redirect.scheme:
        made["scheme_redirect"] = redirect.scheme
    if redirect.hostname:
        made["host_redirect"] = redirect.hostname
    wanted = redirect.port or (SCHEME_PORTS[scheme] if redirect.scheme else door.key.port)
    port = public_ports.get(wanted, wanted)
    is_elsewhere = bool(redirect.scheme or redirect.hostname or redirect.port)
    if is_elsewhere and port != SCHEME_PORTS[scheme]:
        made["port_redirect"] = port
    if redirect.path is not None and redirect.path.kind == "full":
        made["path_redirect"] = redirect.path.value
    elif redirect.path is not None:
        made["regex_rewrite"] = _rewrite(route.path, redirect.path)
    return made


def _edits(side: str, edits: HeaderEdits) -> Json:
    made: Json = {}
    add = [
        {"header": {"key": name, "value": value.replace("%", "%%")}, "append_action": action}
        for entries, action in (
            (edits.set, "OVERWRITE_IF_EXISTS_OR_ADD"),
            (edits.add, "APPEND_IF_EXISTS_OR_ADD"),
        )
        for name, value in entries
    ]
    if add:
        made[f"{side}_headers_to_add"] = add
    if edits.remove:
        made[f"{side}_headers_to_remove"] = [*edits.remove]
    return made


def _make_cors(cors: Cors) -> Json:
    made: Json = {
        "@type": f"{_TYPE}extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [_origin(origin) for origin in cors.origins],
        "allow_credentials": cors.allow_credentials,
    }
    lists = {
        "allow_methods": cors.methods,
        "allow_headers": cors.headers,
        "expose_headers": cors.exposed_headers,
    }
    made |= {field: ", ".join(values) for field, values in lists.items() if values}
    if cors.max_age_seconds:
        made["max_age"] = str(cors.max_age_seconds)
    return made


def _origin(origin: str) -> Json:
    if "*" not in origin:
        return {"exact": origin}
    return {"safe_regex": {"regex": ".*".join(re.escape(part) for part in origin.split("*"))}}


# Listeners


def make_listener(
    port: int,
    doors: Sequence[Door],
    addresses: Sequence[tuple[str, int]],
    certificates: Mapping[ObjectKey, Certificate],
) -> Json:
    """Return the listener of a port, with all of its doors; `addresses` are where it listens."""
    first, *others = (_address(host, number) for host, number in addresses)
    protocol = doors[0].key.protocol
    made: Json = {
        "name": listener_name(port, protocol),
        "address": first,
        "additional_addresses": [{"address": other} for other in others],
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
    }
    if protocol == HTTP:
        return made | {"filter_chains": [{"filters": [_http_filter(port, protocol)]}]}
    inspector = {"@type": f"{_TYPE}extensions.filters.listener.tls_inspector.v3.TlsInspector"}
    return made | {
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}],
        "filter_chains": [_tls_chain(door, certificates) for door in sorted(doors, key=lambda d: d.key)],
    }


def listener_name(port: int, protocol: str) -> str:
    """Return what Envoy calls a port."""
    return f"{protocol.lower()}-{port}"


def _tls_chain(door: Door, certificates: Mapping[ObjectKey, Certificate]) -> Json:
    tls = {
        "@type": f"{_TYPE}extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [_certificate(certificates[key]) for key in door.certificates],
        },
    }
    chain: Json = {
        "name": door.key.hostname or "*",
        "filters": [_http_filter(door.key.port, door.key.protocol)],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "transport_socket_connect_timeout": "10s",
    }
    if door.key.hostname != ANY_HOST:
        chain["filter_chain_match"] = {"server_names": [door.key.hostname]}
    return chain


def _certificate(certificate: Certificate) -> Json:
    return {
        "certificate_chain": {"inline_string": certificate.chain},
        "private_key": {"inline_string": certificate.key},
    }


def _http_filter(port: int, protocol: str) -> Json:
    routes = listener_name(port, protocol)
    cors = {"@type": f"{_TYPE}extensions.filters.http.cors.v3.Cors"}
    router = {
        "@type": f"{_TYPE}extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    }
    manager = {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"gateway_{port}",
        "rds": {"route_config_name": routes, "config_source": _source(file_name("rds", routes))},
        "http_filters": [
            {"name": "envoy.filters.http.cors", "typed_config": cors},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": HEADERS_KB,
        "stream_idle_timeout": f"{IDLE_SECONDS}s",
        "request_headers_timeout": f"{HEADERS_SECONDS}s",
        "drain_timeout": "5s",
        "common_http_protocol_options": {
            "idle_timeout": f"{IDLE_SECONDS}s",
            "headers_with_underscores_action": "ALLOW",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 256,
            "initial_stream_window_size": 65536,
            "initial_connection_window_size": BUFFER_BYTES,
        },
        "access_log": [_access_log()],
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _access_log() -> Json:
    fields = {
        "time": "%START_TIME%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "method": "%REQ(:METHOD)%",
        "host": "%REQ(:AUTHORITY)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):2048%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "bytesIn": "%BYTES_RECEIVED%",
        "bytesOut": "%BYTES_SENT%",
        "milliseconds": "%DURATION%",
        "route": "%ROUTE_NAME%",
        "backend": "%UPSTREAM_CLUSTER_RAW%",
        "endpoint": "%UPSTREAM_HOST%",
        "requestId": "%REQ(X-REQUEST-ID)%",
    }
    config = {
        "@type": f"{_TYPE}extensions.access_loggers.file.v3.FileAccessLog",
        "path": ACCESS_LOG,
        "log_format": {"json_format": fields},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


# The process


def make_bootstrap(metrics_address: tuple[str, int]) -> Json:
    """Return what Envoy starts with: where everything else is found, its limits, and its metrics at /metrics."""
    monitor = {
        "@type": f"{_TYPE}extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": MAX_CONNECTIONS,
    }
    return {
        "node": {"id": "proa-gateway", "cluster": "proa"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "cds_config": _source("cds.json"),
            "lds_config": _source("lds.json"),
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
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return _socket_cluster("endpoints", ENDPOINTS_SOCKET) | {
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options}
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
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "metrics",
        "route_config": {
            "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": "metrics",
        "address": _address(*address),
        "enable_reuse_port": False,
        "filter_chains": [chain],
    }
