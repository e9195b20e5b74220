"""Bring each request to the one function that answers it.

Resource requests go by (verb, subresource); everything else by its path. Follows apiserver/pkg/endpoints/
installer.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from proa.apiserver.filters.authorization import check_also
from proa.apiserver.handlers.discovery import Discovery
from proa.apiserver.handlers.health import TEXT, make_version, serve_health
from proa.apiserver.handlers.list import list_objects
from proa.apiserver.handlers.negotiation import warning
from proa.apiserver.handlers.scale import serve_scale
from proa.apiserver.handlers.subresources import HANDLERS
from proa.apiserver.handlers.watch import watch_objects
from proa.apiserver.handlers.write import (
    create_object,
    delete_collection,
    delete_object,
    get_object,
    patch_object,
    update_object,
)
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.refusals import method_not_allowed, unknown_resource
from proa.apiserver.registry.registry import ResourceRegistry
from proa.apiserver.request_info import RequestInfo, asks_for_watch
from proa.apiserver.tokens.discovery import CONFIGURATION_PATH, KEYS_PATH, IssuerDiscovery
from proa.apiserver.tokens.issuer import TokenIssuer
from proa.client.kubelet_api import KubeletApi, KubeletDialer
from proa.client.protocol import Handler, Object, Request, Response
from proa.objects.errors import ServiceUnavailable
from proa.objects.resource import Resource
from proa.objects.selectors import parse_label_selector
from proa.observability.metrics import Metric, exposition
from proa.observability.process import process_metrics

if TYPE_CHECKING:
    from proa.apiserver.aggregation.aggregator import Aggregator
    from proa.apiserver.app import ApiSettings


class Router:
    """Knows every path."""

    def __init__(
        self,
        catalog: Catalog,
        settings: ApiSettings,
        tokens: TokenIssuer,
        issuer: IssuerDiscovery,
        kubelet: KubeletDialer | None,
        metrics: Sequence[Metric],
        aggregator: Aggregator,
        extensions: Mapping[str, Handler],
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._tokens = tokens
        self._issuer = issuer
        self._kubelet = kubelet or no_kubelet
        self._metrics = metrics
        self._aggregator = aggregator
        self._extensions = extensions
        address = f"{settings.advertise_address}:{settings.advertise_port}"
        self._discovery = Discovery(catalog, address, aggregator)
        self._live = {"ping": lambda: "", "etcd": lambda: catalog.store.refusal}
        self._version = make_version(catalog.now())

    async def route(self, request: Request, info: RequestInfo) -> Response:
        """Answer; raise NotFound, MethodNotAllowed and whatever the handler raises."""
        self._catalog.follow()
        if not info.is_resource:
            return await self._other(request, info)
        registry = self._catalog.find(info.group, info.version, info.plural)
        if registry is None:
            registries = self._catalog.group_versions.get((info.group, info.version))
            if registries is None:
                remote = self._aggregator.find(info.group, info.version)
                return page_not_found() if remote is None else await self._aggregator.proxy(request, remote)
            registry = registries.get(info.plural)
            if registry is None:
                raise unknown_resource()
        namespace = info.namespace
        if not registry.resource.namespaced:
            if namespace and info.plural != "namespaces":
                raise unknown_resource()
            namespace = ""
        elif info.name and not namespace:
            raise unknown_resource()
        if info.verb == "watch":  # what /watch/ in a path makes of every method, and is authorized as
            if info.subresource:
                raise unknown_resource()
            if request.method not in ("GET", "HEAD"):
                raise method_not_allowed()
        serve = self._subresource if info.subresource else self._resource
        response = await serve(request, info, registry, namespace)
        if registry.definition.deprecation:
            said = warning(registry.definition.deprecation)
            had = response.headers.get("Warning")
            response.headers["Warning"] = f"{said}\n{had}" if had else said
        return response

    async def _resource(
        self, request: Request, info: RequestInfo, registry: ResourceRegistry, namespace: str
    ) -> Response:
        verb, name = info.verb, info.name
        if verb == "get" and name and asks_for_watch(request):
            verb = "watch"
            self._check_verb(request, info, verb)
        if verb not in registry.definition.verbs:
            raise method_not_allowed()
        if verb == "get":
            return await get_object(request, registry, namespace, name)
        if verb == "list":
            return await list_objects(request, registry, namespace, self._catalog.now())
        if verb == "watch":
            return await watch_objects(request, registry, namespace, name)
        if verb == "create" and not name and (namespace or not registry.resource.namespaced):
            return await create_object(request, registry, namespace)
        if verb == "update" and name:
            return await update_object(request, registry, namespace, name)
        if verb == "patch" and name:
            return await patch_object(request, registry, namespace, name)
        if verb == "delete":
            return await delete_object(request, registry, namespace, name)
        if verb == "deletecollection" and (namespace or not registry.resource.namespaced):
            return await delete_collection(request, registry, namespace)
        raise method_not_allowed()

    async def _subresource(
        self, request: Request, info: RequestInfo, registry: ResourceRegistry, namespace: str
    ) -> Response:
        name, subresource = info.name, info.subresource
        offered = next((s for s in registry.definition.subresources if s.name == subresource), None)
        if offered is None:
            raise unknown_resource()
        if subresource == "status" or offered.prepare is not None:
            if info.verb not in offered.verbs:
                raise method_not_allowed()
            if info.verb == "get":
                return await get_object(request, registry, namespace, name)
            write = update_object if info.verb == "update" else patch_object
            return await write(request, registry, namespace, name, subresource)
        if subresource == "scale":
            return await serve_scale(request, registry, namespace, name)
        if (info.plural, subresource) == ("serviceaccounts", "token"):
            return await self._tokens.serve(request, registry, namespace, name)
        handler = HANDLERS.get((info.plural, subresource))
        if handler is not None:
            return await handler(request, registry, namespace, name)
        return await self._stream(request, info, registry, namespace)

    async def _stream(
        self, request: Request, info: RequestInfo, registry: ResourceRegistry, namespace: str
    ) -> Response:
        from proa.apiserver.streams.connect_options import CONNECTING, connect_options
        from proa.apiserver.streams.context import StreamContext
        from proa.apiserver.streams.routes import SUBRESOURCE_HANDLERS

        handler = SUBRESOURCE_HANDLERS.get((registry.resource.plural, info.subresource))
        if handler is None:
            raise unknown_resource()
        if info.verb != "create" and info.subresource in _INTERACTIVE:
            self._check_verb(request, info, "create")  # a WebSocket begins with a GET: KEP-4006
        if info.subresource in CONNECTING:
            options = connect_options(request, info)
            user = request.user
            await registry.admit_other("CONNECT", namespace, info.name, info.subresource, options, user)
        context = StreamContext(
            namespace, info.name, info.subpath, self._get_object, self._list_objects, self._kubelet
        )
        return await handler(request, context)

    def _check_verb(self, request: Request, info: RequestInfo, verb: str) -> None:
        """See that the user may do this too, since a GET is about to do more than get; raise Forbidden."""
        check_also(self._catalog.authorizer, request, replace(info, verb=verb))

    async def _get_object(self, resource: Resource, name: str, namespace: str) -> Object:
        obj: Object = orjson.loads(self._catalog.of(resource).get(namespace, name))
        return obj

    async def _list_objects(self, resource: Resource, namespace: str, label_selector: str) -> list[Object]:
        registry = self._catalog.of(resource)
        selector = parse_label_selector(label_selector)
        objects = [orjson.loads(e.value) for e in registry.store.range(registry.scope(namespace)).entries]
        return [o for o in objects if selector.matches(o["metadata"].get("labels") or {})]

    async def _other(self, request: Request, info: RequestInfo) -> Response:
        parts = [part for part in info.path.split("/") if part]
        first = parts[0] if parts else ""
        if first in ("api", "apis"):
            if len(parts) > 1 and parts[1] in self._extensions:
                return await self._extensions[parts[1]](request)
            if len(parts) == 3 and (parts[1], parts[2]) not in self._catalog.group_versions:
                remote = self._aggregator.find(parts[1], parts[2])
                if remote is not None:
                    return await self._aggregator.proxy(request, remote)
            if request.method not in ("GET", "HEAD"):
                raise method_not_allowed()
            return self._discovery.serve(request, parts) or page_not_found()
        if not parts:
            return self._discovery.serve_root(request)
        path = f"/{first}" if first in _HEALTH else "/" + "/".join(parts)  # /version/ is /version
        answer = self._paths().get(path)
        if answer is not None:
            return await answer(request)
        if first == "openapi":
            return await self._openapi(request, parts)
        return page_not_found()

    def _paths(self) -> dict[str, Callable[[Request], Awaitable[Response]]]:
        return {
            "/healthz": self._healthz,
            "/livez": self._healthz,
            "/readyz": self._readyz,
            "/version": self._serve_version,
            "/metrics": self._serve_metrics,
            CONFIGURATION_PATH: self._issuer.serve_configuration,
            KEYS_PATH: self._issuer.serve_keys,
            "/proa/backup": self._serve_backup,
        }

    async def _healthz(self, request: Request) -> Response:
        return serve_health(request, request.path.strip("/").partition("/")[0], self._live)

    async def _readyz(self, request: Request) -> Response:
        return serve_health(request, "readyz", {**self._live, **self._settings.ready_checks})

    async def _serve_version(self, request: Request) -> Response:
        return Response(200, {"Content-Type": "application/json"}, self._version)

    async def _serve_metrics(self, request: Request) -> Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return Response(200, headers, exposition((*self._metrics, *process_metrics())).encode())

    async def _serve_backup(self, request: Request) -> Response:
        from proa.apiserver.handlers.backup import serve_backup

        return serve_backup(request, self._catalog.store)

    async def _openapi(self, request: Request, parts: list[str]) -> Response:
        from proa.apiserver.openapi import serve, serve_index

        if parts[1:3] == ["v3", "apis"] and len(parts) == 5:
            remote = self._aggregator.remotes().get((parts[3], parts[4]))
            if remote is not None:
                return await self._aggregator.proxy(request, remote)
        if parts[1:] == ["v3"] and (more := self._aggregator.openapi_paths()):
            return await serve_index(request, self._catalog, more)
        return await serve(request, parts[1:], self._catalog) or page_not_found()


_INTERACTIVE = ("exec", "attach", "portforward")
_HEALTH = ("healthz", "livez", "readyz")


def page_not_found() -> Response:
    """Answer as Go's server does where there is nothing."""
    return Response(404, dict(TEXT), b"404 page not found\n")


async def no_kubelet(node: str) -> KubeletApi:
    """Refuse: there are no nodes."""
    raise ServiceUnavailable(f'no kubelet of node "{node}" can be reached')
