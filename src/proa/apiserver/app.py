"""The API server as one function from request to response: the filters, then the router.

`ApiServer.handle` is what the HTTP server and the in-process client both call. Nothing here knows of sockets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proa.apiserver.address_ranges import NODE_PORTS
from proa.apiserver.admission import PLUGINS
from proa.apiserver.aggregation.aggregator import Aggregator
from proa.apiserver.aggregation.identity import ProxyIdentity
from proa.apiserver.allocators import ClusterAllocators
from proa.apiserver.authorization.decision import Authorizer, AuthorizerChain, PrivilegedGroup
from proa.apiserver.authorization.node import NodeAuthorizer
from proa.apiserver.authorization.rbac import RbacAuthorizer
from proa.apiserver.claims import Claims
from proa.apiserver.filters.authentication import TokenAuthenticator, with_authentication
from proa.apiserver.filters.authorization import with_authorization
from proa.apiserver.filters.chain import Filter, chain
from proa.apiserver.filters.deadline import with_deadline
from proa.apiserver.filters.errors import with_errors
from proa.apiserver.filters.flow_control import with_flow_control
from proa.apiserver.filters.headers import with_headers
from proa.apiserver.filters.impersonation import with_impersonation
from proa.apiserver.filters.metrics import RequestMetrics
from proa.apiserver.filters.notes import with_notes
from proa.apiserver.filters.read_index import with_read_index
from proa.apiserver.flowcontrol.control import FlowControl
from proa.apiserver.handlers.health import Check
from proa.apiserver.policies.bindings import Policies
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.namespace_deletion import decide_namespace
from proa.apiserver.request_info import RequestInfo, parse_request
from proa.apiserver.resources.networking.ipaddress import make_stored
from proa.apiserver.router import Router, no_kubelet
from proa.apiserver.service_ranges import ServiceRanges
from proa.apiserver.tokens.authenticator import Authenticator
from proa.apiserver.tokens.discovery import IssuerDiscovery
from proa.apiserver.tokens.issuer import TokenIssuer
from proa.apiserver.webhooks.webhooks import Webhooks
from proa.client.kubelet_api import KubeletDialer
from proa.client.protocol import Handler, Request, Response
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS
from proa.objects.token_keys import TokenKeys
from proa.observability.metrics import Gauge
from proa.store.protocol import Store

if TYPE_CHECKING:
    from proa.apiserver.audit.log import AuditLog
    from proa.apiserver.audit.policy import AuditPolicy


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What a cluster's API server must be told. Without token keys, tokens are neither made nor accepted."""

    service_cidr: str = "10.96.0.0/16"
    node_ports: range = NODE_PORTS
    advertise_address: str = "127.0.0.1"
    advertise_port: int = 6443
    token_private_key: Path | None = None
    token_public_key: Path | None = None
    proxy_identity: ProxyIdentity | None = None
    """By which servers of aggregated APIs know this one; without, they are asked without a certificate."""
    audit_policy: AuditPolicy | None = None
    """What the audit log, where there is one, has of each request."""
    ready_checks: dict[str, Check] = field(default_factory=dict)
    """Further checks of /readyz: name -> function that returns "" or what is missing."""


class ApiServer:
    """Serves `definitions` from `store`. Without an `authorizer`, RBAC decides and system:masters may do all."""

    def __init__(
        self,
        store: Store,
        definitions: Sequence[ResourceDefinition],
        settings: ApiSettings | None = None,
        *,
        kubelet: KubeletDialer | None = None,
        authenticate_token: TokenAuthenticator | None = None,
        authorizer: Authorizer | None = None,
        audit_log: AuditLog | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or ApiSettings()
        self.store = store
        self.audit_log = audit_log
        claims = Claims(store, partial(make_stored, now), now)
        ranges = ServiceRanges(store, self.settings.service_cidr)
        allocators = ClusterAllocators(claims, ranges.all, self.settings.node_ports, ranges.families)
        self.catalog = Catalog(
            definitions, store, allocators, PLUGINS, now, {("", "namespaces"): decide_namespace}
        )
        self.catalog.authorizer = authorizer or AuthorizerChain(
            PrivilegedGroup(), NodeAuthorizer(store), RbacAuthorizer(store)
        )
        self.catalog.look_at_claims()
        self.catalog.policies = Policies(self.catalog)
        self.webhooks = self.catalog.webhooks = Webhooks(self.catalog, kubelet or no_kubelet)
        self.aggregator = Aggregator(self.catalog, self.webhooks.resolver, self.settings.proxy_identity)
        if self.catalog.has(CUSTOM_RESOURCE_DEFINITIONS):
            from proa.apiserver.custom_resources.served import CustomResources

            self.catalog.follow = CustomResources(self.catalog, self.webhooks).follow
        keys = TokenKeys(self.settings.token_private_key, self.settings.token_public_key)
        self.catalog.tokens = Authenticator(self.catalog, keys)
        tokens = TokenIssuer(self.catalog, keys)
        address = f"{self.settings.advertise_address}:{self.settings.advertise_port}"
        self.flow_control = FlowControl(store)
        self.metrics = RequestMetrics()
        self.extensions: dict[str, Handler] = {}
        """Who answers below `/apis/NAME/`, for names that are no group's, to those who may ask for that path."""
        revision = Gauge("proa_store_revision", "The newest durable revision.", lambda: float(store.revision))
        metrics = (*self.metrics.all, self._stored_objects(), revision)
        self.router = Router(
            self.catalog,
            self.settings,
            tokens,
            IssuerDiscovery(keys, address),
            kubelet,
            metrics,
            self.aggregator,
            self.extensions,
        )
        audit, failed = self._audit_filters()
        filters: tuple[Filter, ...] = (
            self.metrics.wrap,
            with_headers,
            with_notes,
            with_errors,
            with_deadline,
            *failed,
            with_read_index(store),
            with_authentication(authenticate_token or self.catalog.tokens.authenticate),
            *audit,
            with_impersonation(self.catalog.authorizer),
            with_flow_control(self.flow_control),
            with_authorization(self.catalog.authorizer),
        )
        self._handle = chain(filters, self.router.route)

    def _stored_objects(self) -> Gauge:
        def read() -> dict[str, float]:
            registries = [r for found in self.catalog.group_versions.values() for r in found.values()]
            own = (r for r in registries if r.stored_as == r.resource)
            return {r.resource.qualified_name: float(self.store.count(r.prefix)) for r in own}

        return Gauge(
            "apiserver_storage_objects",
            "Number of stored objects at the time of last check split by kind.",
            label="resource",
            read_all=read,
        )

    def _audit_filters(self) -> tuple[tuple[Filter, ...], tuple[Filter, ...]]:
        """Return the filters that note requests, and those that could not be authenticated; none without a policy."""
        log, policy = self.audit_log, self.settings.audit_policy
        if log is None or policy is None:
            return (), ()
        from proa.apiserver.filters.audit import with_audit, with_failed_authentication

        return (with_audit(policy, log),), (with_failed_authentication(policy, log),)

    async def close(self) -> None:
        """Let go of the connections to others, and of the audit log when all is in it."""
        await self.webhooks.close()
        if self.audit_log is not None:
            await self.audit_log.close()

    async def handle(self, request: Request) -> Response:
        """Answer a request. Where `request.user` is set, the transport has authenticated it."""
        info = parse_request(request)
        if info.group in self.extensions:
            info = RequestInfo(False, request.method.lower(), request.path)
        return await self._handle(request, info)
