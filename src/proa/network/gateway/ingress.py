"""Decide what an Ingress asks of the proxy: routes for each host, certificates, and what is wrong with it. Pure.

Follows the rules of networking.k8s.io/v1: the longest path wins, exact before prefix; a prefix is one of whole path
elements; `*.` stands for exactly one label. ImplementationSpecific is taken as Prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.network.gateway.model import (
    ANY_HOST,
    HTTP,
    HTTPS,
    Door,
    DoorKey,
    ObjectKey,
    PathMatch,
    Route,
    Target,
    make_order,
)
from proa.network.gateway.starter import CLASS_NAME
from proa.network.gateway.world import Problem, World, find_backend
from proa.objects import meta

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
HTTP_PORT, HTTPS_PORT = 80, 443
DEFAULT_CERTIFICATE = ObjectKey("", "default")
"""Stands for the certificate that is ours: no Secret has this key."""
FOREIGN_ANNOTATIONS = (
    "nginx.ingress.kubernetes.io/",
    "nginx.org/",
    "traefik.ingress.kubernetes.io/",
    "haproxy.org/",
    "haproxy-ingress.github.io/",
    "alb.ingress.kubernetes.io/",
    "ingress.kubernetes.io/",
    "konghq.com/",
    "projectcontour.io/",
)
NO_BACKEND_STATUS = 503


class IngressPlan(NamedTuple):
    """What one Ingress asks for. `certificates` names the Secret for each server name."""

    routes: dict[str, list[Route]]
    certificates: dict[str, ObjectKey]
    problems: tuple[Problem, ...]


def class_name_of(ingress: Object) -> str:
    """Return the name of the class that an Ingress asks for, "" where it names none."""
    named: str | None = (ingress.get("spec") or {}).get("ingressClassName")
    return named if named is not None else meta.annotations(ingress).get(CLASS_ANNOTATION, "")


def plan_ingress(ingress: Object, world: World) -> IngressPlan:
    """Return what an Ingress of ours asks for."""
    planner = _Planner(ingress, world)
    spec = ingress.get("spec") or {}
    default = spec.get("defaultBackend")
    if default:
        planner.add(ANY_HOST, PathMatch("prefix", "/"), default, -1, 0, is_default=True)
    for number, rule in enumerate(spec.get("rules") or ()):
        host = (rule.get("host") or ANY_HOST).lower()
        for index, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            planner.add(host, _path_match(path), path["backend"], number, index)
        if default and host:
            planner.add(host, PathMatch("prefix", "/"), default, number, -1, is_default=True)
    planner.add_tls(spec.get("tls") or ())
    planner.check_annotations()
    return IngressPlan(planner.routes, planner.certificates, tuple(planner.problems))


def _path_match(path: Mapping[str, Any]) -> PathMatch:
    value = path.get("path") or "/"
    if path.get("pathType") == "Exact":
        return PathMatch("exact", value)
    return PathMatch("prefix", value.rstrip("/") or "/")


class _Planner:
    """What is gathered of one Ingress."""

    def __init__(self, ingress: Object, world: World) -> None:
        self._ingress = ingress
        self._world = world
        self._namespace = meta.namespace(ingress)
        self._owner = f"{self._namespace}/{meta.name(ingress)}"
        self._created = ingress["metadata"].get("creationTimestamp") or ""
        self.routes: dict[str, list[Route]] = {}
        self.certificates: dict[str, ObjectKey] = {}
        self.problems: list[Problem] = []

    def add(
        self,
        host: str,
        path: PathMatch,
        backend: Mapping[str, Any],
        rule: int,
        index: int,
        *,
        is_default: bool = False,
    ) -> None:
        order = make_order(
            path, owner=self._owner, created=self._created, rule=rule, match=index, is_default=is_default
        )
        route = Route(
            name=f"Ingress/{self._owner}",
            order=order,
            path=path,
            targets=self._targets(backend),
            label_only=host[2:] if host.startswith("*.") else "",
            status=NO_BACKEND_STATUS,
        )
        self.routes.setdefault(host, []).append(route)

    def _targets(self, backend: Mapping[str, Any]) -> tuple[Target, ...]:
        service = backend.get("service")
        if not service:
            self._tell(
                Problem("UnsupportedBackend", "backends that are resources are not supported: name a service")
            )
            return ()
        port = service.get("port") or {}
        key = ObjectKey(self._namespace, service["name"])
        found = find_backend(self._world, key, port.get("name") or port.get("number") or 0)
        if isinstance(found, Problem):
            self._tell(found)
            return ()
        return (Target(found),)

    def add_tls(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Note which Secret each host's certificate is in; one without a Secret has ours."""
        for entry in entries:
            key = DEFAULT_CERTIFICATE
            if name := entry.get("secretName"):
                key = ObjectKey(self._namespace, name)
                if problem := check_certificate(self._world.secret(key), key):
                    self._tell(problem)
                    key = DEFAULT_CERTIFICATE
            for host in entry.get("hosts") or (ANY_HOST,):
                self.certificates.setdefault(host.lower(), key)

    def check_annotations(self) -> None:
        """Say which of other controllers' annotations do nothing here."""
        unknown = sorted(
            key for key in meta.annotations(self._ingress) if key.startswith(FOREIGN_ANNOTATIONS)
        )
        if unknown:
            words = ", ".join(unknown)
            self._tell(
                Problem("UnsupportedAnnotation", f"not carried out by ingress class {CLASS_NAME!r}: {words}")
            )

    def _tell(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def check_certificate(secret: Object | None, key: ObjectKey) -> Problem | None:
    """Return what is wrong with a Secret that is to be a server's certificate, None where nothing is."""
    from proa.network.gateway.certificates import read_certificate

    if secret is None:
        return Problem("SecretNotFound", f'Secret "{key}" not found')
    found = read_certificate(secret)
    return Problem("InvalidCertificate", f'Secret "{key}" {found}') if isinstance(found, str) else None


def make_doors(plans: Sequence[IngressPlan]) -> list[Door]:
    """Return the doors of all Ingresses: plain, with TLS for any name, and with TLS for each name that has a Secret."""
    if not plans:
        return []
    gathered: dict[str, list[Route]] = {}
    certificates: dict[str, ObjectKey] = {}
    for plan in plans:
        for host, routes in plan.routes.items():
            gathered.setdefault(host, []).extend(routes)
        for host, key in plan.certificates.items():
            if certificates.get(host, DEFAULT_CERTIFICATE) == DEFAULT_CERTIFICATE:
                certificates[host] = key
    sites = {host: tuple(sorted(routes, key=lambda r: r.order)) for host, routes in gathered.items()}
    fallback = certificates.pop(ANY_HOST, DEFAULT_CERTIFICATE)
    doors = [
        Door(DoorKey(HTTP_PORT, HTTP), sites),
        Door(DoorKey(HTTPS_PORT, HTTPS), sites, (fallback,)),
    ]
    for host, key in certificates.items():
        if key != DEFAULT_CERTIFICATE:
            doors.append(Door(DoorKey(HTTPS_PORT, HTTPS, host), {}, (key,)))
    return doors
