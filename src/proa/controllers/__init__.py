"""Controllers: one file (or folder) each, independent of one another; `CONTROLLERS` is the list.

`SERVER_CONTROLLERS` belong to an API server, as upstream's do, and go where it goes: each of several runs them.
`make_controllers()` returns a fresh set for one manager: a few remember something (the garbage collector its
graph), so two clusters in one process must not share them.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.controllers import (
    account_tokens,
    clusterrole_aggregation,
    custom_resource_definition,
    endpointslice_mirroring,
    ephemeral_volume,
    flow_schema,
    namespace,
    node_departure,
    replicaset,
    resource_claim,
    resource_claim_release,
    root_ca,
    service_addresses,
    service_cidrs,
    serviceaccount,
    ttl_after_finished,
    validating_admission_policy,
)
from proa.controllers.bootstrap_tokens import cleaning as token_cleaning
from proa.controllers.bootstrap_tokens import signing as token_signing
from proa.controllers.certificates import approving, cleaning, serving, signing
from proa.controllers.cronjob.controller import CronJobController
from proa.controllers.daemonset.controller import DaemonSetController
from proa.controllers.deployment import controller as deployment
from proa.controllers.disruption.controller import DisruptionController
from proa.controllers.endpoint_slice.controller import EndpointSlices
from proa.controllers.endpoints import EndpointsController
from proa.controllers.garbage_collector.controller import GarbageCollector
from proa.controllers.horizontal_pod_autoscaler.controller import HorizontalPodAutoscaler
from proa.controllers.job.controller import JobController
from proa.controllers.local_path import controller as local_path
from proa.controllers.node_ipam import NodeIpam
from proa.controllers.node_lifecycle.controller import NodeLifecycle
from proa.controllers.node_ttl import NodeTtl
from proa.controllers.persistent_volume import claims, volumes
from proa.controllers.pod_gc import PodGarbageCollector
from proa.controllers.pod_group import PodGroupController
from proa.controllers.resource_quota import ResourceQuotaController
from proa.controllers.statefulset import controller as statefulset
from proa.controllers.taint_eviction import TaintEviction
from proa.controllers.volume_protection import CLAIM_PROTECTION, VOLUME_PROTECTION
from proa.reconcile.protocol import Controller

CONTROLLERS: tuple[Controller | type[Controller], ...] = (
    namespace,
    serviceaccount,
    account_tokens,
    root_ca,
    clusterrole_aggregation,
    replicaset.REPLICA_SET,
    replicaset.REPLICATION_CONTROLLER,
    deployment,
    statefulset,
    DaemonSetController,
    JobController,
    CronJobController,
    ttl_after_finished,
    DisruptionController,
    HorizontalPodAutoscaler,
    EndpointSlices,
    endpointslice_mirroring,
    EndpointsController,
    service_cidrs,
    GarbageCollector,
    PodGarbageCollector,
    NodeLifecycle,
    TaintEviction,
    NodeTtl,
    NodeIpam,
    node_departure,
    claims,
    volumes,
    ephemeral_volume,
    resource_claim,
    resource_claim_release,
    CLAIM_PROTECTION,
    VOLUME_PROTECTION,
    validating_admission_policy,
    approving,
    signing,
    serving,
    cleaning,
    token_signing,
    token_cleaning,
    local_path,
    ResourceQuotaController,
)
"""Modules and objects are controllers as they are; a class is made anew for each manager."""
SERVER_CONTROLLERS: tuple[Controller | type[Controller], ...] = (
    custom_resource_definition,
    flow_schema,
    PodGroupController,
    service_addresses,
)


def make_controllers() -> list[Controller]:
    """Return all controllers but the API server's own, for one `reconcile.manager.Manager`."""
    return _made(CONTROLLERS)


def make_server_controllers() -> list[Controller]:
    """Return the API server's own controllers, for one `reconcile.manager.Manager`."""
    return _made(SERVER_CONTROLLERS)


def _made(entries: Iterable[Controller | type[Controller]]) -> list[Controller]:
    return [entry() if isinstance(entry, type) else entry for entry in entries]
