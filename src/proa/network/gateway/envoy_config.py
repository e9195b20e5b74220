"""Say backends and listeners in Envoy's words (its v3 API, as JSON). Pure.

Paths are relative to the folder that Envoy works in (`xds.py`). What nobody asked about is set as Envoy's advice for
proxies at the edge has it (docs: configuration/best_practices/edge).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from proa.network.gateway.certificates import Certificate
from proa.network.gateway.model import (
    ANY_HOST,
    HTTP,
    BackendKey,
    Door,
    ObjectKey,
)

Json = dict[str, Any]

ACCESS_LOG = "logs/access.log"
ADMIN_SOCKET = "admin.sock"
ENDPOINTS_SOCKET = "endpoints.sock"
MAX_CONNECTIONS = 10_000
MAX_RETRIES = 1000
"""At the same time, to one backend: all that a killed pod had in hand."""
BUFFER_BYTES = 1 << 20
HEADERS_KB = 60
CONNECT_SECONDS = 5
UPSTREAM_IDLE_SECONDS = 4
"""Less than common servers keep idle connections for (uvicorn, Node.js: 5 s), so that none is used as it is closed."""
IDLE_SECONDS = 3600
HEADERS_SECONDS = 60
TYPE = "type.googleapis.com/envoy."
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def file_name(kind: str, name: str) -> str:
    """Return where a resource is found, whatever characters its name has."""
    return f"{kind}/{hashlib.blake2s(name.encode(), digest_size=12).hexdigest()}.json"


def response(type_url: str, resources: Sequence[Json], version: str) -> Json:
    """Return the message by which Envoy takes resources over."""
    typed = [{"@type": type_url, **resource} for resource in resources]
    return {"version_info": version, "type_url": type_url, "resources": typed}


CLUSTER = f"{TYPE}config.cluster.v3.Cluster"
LISTENER = f"{TYPE}config.listener.v3.Listener"
ROUTES = f"{TYPE}config.route.v3.RouteConfiguration"
ENDPOINTS = f"{TYPE}config.endpoint.v3.ClusterLoadAssignment"


def source(path: str) -> Json:
    """Return that something is found in a file."""
    return {"path_config_source": {"path": f"./{path}"}, "resource_api_version": "V3"}


OUTLIERS: Json = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 3,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_success_rate": 0,
    "enforcing_consecutive_5xx": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "interval": "1s",
    "base_ejection_time": "5s",
    "max_ejection_time": "30s",
    "max_ejection_percent": 70,
}
"""An endpoint that took no connection three times in a row gets nothing for a while; never are all given up.

Answers do not count, whatever they are: under load all endpoints say 503 at times, and fewer of them would not help.
"""


@functools.lru_cache(maxsize=16384)
def make_cluster(backend: BackendKey) -> Json:
    """Return the cluster that stands for a backend; it is not to be changed."""
    name = str(backend)
    http: Json = {"http2_protocol_options": {}} if backend.is_http2 else {"http_protocol_options": {}}
    limits = {"max_connections": MAX_CONNECTIONS, "max_pending_requests": MAX_CONNECTIONS}
    limits |= {"max_requests": MAX_CONNECTIONS, "max_retries": MAX_RETRIES}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [limits]},
        "outlier_detection": OUTLIERS,
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_SECONDS}s"},
                "explicit_http_config": http,
            }
        },
    }


def make_address(address: str, port: int) -> Json:
    """Return an address."""
    return {"socket_address": {"address": address, "port_value": port}}


def make_listener(
    port: int,
    doors: Sequence[Door],
    addresses: Sequence[tuple[str, int]],
    certificates: Mapping[ObjectKey, Certificate],
) -> Json:
    """Return the listener of a port, with all of its doors; `addresses` are where it listens."""
    first, *others = (make_address(host, number) for host, number in addresses)
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
    inspector = {"@type": f"{TYPE}extensions.filters.listener.tls_inspector.v3.TlsInspector"}
    return made | {
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}],
        "filter_chains": [_tls_chain(door, certificates) for door in sorted(doors, key=lambda d: d.key)],
    }


def listener_name(port: int, protocol: str) -> str:
    """Return what Envoy calls a port."""
    return f"{protocol.lower()}-{port}"


def _tls_chain(door: Door, certificates: Mapping[ObjectKey, Certificate]) -> Json:
    tls = {
        "@type": f"{TYPE}extensions.transport_sockets.tls.v3.DownstreamTlsContext",
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
    cors = {"@type": f"{TYPE}extensions.filters.http.cors.v3.Cors"}
    router = {
        "@type": f"{TYPE}extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    }
    request_ids = {  # nothing is traced, so ids need not say whether they are
        "@type": f"{TYPE}extensions.request_id.uuid.v3.UuidRequestIdConfig",
        "pack_trace_reason": False,
        "use_request_id_for_trace_sampling": False,
    }
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"gateway_{port}",
        "rds": {"route_config_name": routes, "config_source": source(file_name("rds", routes))},
        "http_filters": [
            {
                "name": "envoy.filters.http.cors",
                "typed_config": cors,
                "disabled": True,
            },  # but where a route has it
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        "request_id_extension": {"typed_config": request_ids},
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
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "requestId": "%REQ(X-REQUEST-ID)%",
    }
    config = {
        "@type": f"{TYPE}extensions.access_loggers.file.v3.FileAccessLog",
        "path": ACCESS_LOG,
        "log_format": {"json_format": fields},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}
