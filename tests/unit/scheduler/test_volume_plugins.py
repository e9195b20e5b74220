"""Volumes that keep a pod from nodes: in use elsewhere, too many, in another zone, nothing to bind."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.objects.resource import CSI_NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from proa.reconcile.informer import InformerFactory
from proa.scheduler.framework import Profile, Status
from proa.scheduler.plugins import default_plugins
from proa.scheduler.pod_info import make_pod_info
from proa.scheduler.rankings import Rankings
from proa.scheduler.snapshot import Snapshot

from .conftest import make_node, make_pod

ZONE = "topology.kubernetes.io/zone"
LATE = {"volumeBindingMode": "WaitForFirstConsumer"}
TAKEN = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
NO_DISK = "node(s) had no available disk"
TOO_MANY = "node(s) exceed max volume count"
ELSEWHERE = "node(s) had no available volume zone"
NOTHING = "node(s) didn't find available persistent volumes to bind"


class World:
    """Two nodes, in zones a and b."""

    def __init__(self) -> None:
        client = FakeClient()
        self.informers = InformerFactory(client)
        self.snapshot = Snapshot()
        self.profile = Profile("test", default_plugins(client, self.informers, self.snapshot))
        self.rankings = Rankings(self.profile, self.snapshot, random.Random(1).random)
        for name in ("a", "b"):
            self.snapshot.set_node(make_node(name, labels={ZONE: name}))

    def add(self, resource: Any, name: str, namespace: str = "", labels: Any = None, **rest: Any) -> None:
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}, "resourceVersion": "1"}
        self.informers.informer(resource).wrote({"metadata": metadata, **rest})

    def add_claim(
        self, name: str, volume: str = "", modes: Any = ("ReadWriteOnce",), storage_class: str = ""
    ) -> None:
        spec = {"accessModes": list(modes), "volumeName": volume, "storageClassName": storage_class}
        status = {"phase": "Bound" if volume else "Pending"}
        self.add(PERSISTENT_VOLUME_CLAIMS, name, "default", spec=spec, status=status)

    def add_volume(self, name: str, labels: Any = None, **spec: Any) -> None:
        self.add(PERSISTENT_VOLUMES, name, labels=labels, spec={"accessModes": ["ReadWriteOnce"], **spec})

    def put(self, node: str, pod: Object) -> None:
        self.snapshot.add_pod(make_pod_info(pod), node)

    def reasons(self, pod: Object) -> dict[str, str]:
        info = make_pod_info(pod)
        facts = self.profile.run_pre_filters(info)
        assert not isinstance(facts, Status)
        ranking = self.rankings.ranking_for(info, facts)
        found = {name: ranking.status_of(name) for name in ("a", "b") if not ranking.fits(name)}
        return {name: status.reasons[0] for name, status in found.items() if status is not None}


def mounting(name: str, *claims: str, **source: Any) -> Object:
    volumes: list[Any] = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    return make_pod(name, volumes=[*volumes, *([{"name": "disk", **source}] if source else [])])


def test_a_claim_for_one_pod_is_used_by_one_pod():
    world = World()
    world.add_volume("v")
    world.add_claim("data", "v", ["ReadWriteOncePod"])
    world.put("a", mounting("first", "data"))
    assert world.reasons(mounting("second", "data")) == {"a": TAKEN, "b": TAKEN}
    world.snapshot.remove_pod("uid-first")
    assert world.reasons(mounting("second", "data")) == {}


@pytest.mark.parametrize(
    ("there", "wanted", "reasons"),
    [
        ({"gcePersistentDisk": {"pdName": "x"}}, {"gcePersistentDisk": {"pdName": "x"}}, {"a": NO_DISK}),
        (
            {"gcePersistentDisk": {"pdName": "x", "readOnly": True}},
            {"gcePersistentDisk": {"pdName": "x", "readOnly": True}},
            {},
        ),
        ({"awsElasticBlockStore": {"volumeID": "x"}}, {"awsElasticBlockStore": {"volumeID": "y"}}, {}),
        ({"iscsi": {"iqn": "x"}}, {"iscsi": {"iqn": "x", "readOnly": True}}, {"a": NO_DISK}),
        (
            {"rbd": {"monitors": ["m", "n"], "pool": "p", "image": "i"}},
            {"rbd": {"monitors": ["n"], "pool": "p", "image": "i"}},
            {"a": NO_DISK},
        ),
    ],
)
def test_a_disk_is_on_a_node_once_unless_all_only_read_it(there, wanted, reasons):
    world = World()
    world.put("a", mounting("first", **there))
    assert world.reasons(mounting("second", **wanted)) == reasons


def test_a_node_takes_so_many_volumes_of_a_driver_as_it_says():
    world = World()
    driver = {"name": "csi.example.com", "nodeID": "a", "allocatable": {"count": 1}}
    world.add(CSI_NODES, "a", spec={"drivers": [driver]})
    for name in ("one", "two"):
        world.add_volume(name, csi={"driver": "csi.example.com", "volumeHandle": name})
        world.add_claim(name, name)
    assert world.reasons(mounting("p", "one")) == {}
    assert world.reasons(mounting("p", "one", "two")) == {"a": TOO_MANY}
    world.put("a", mounting("first", "one"))
    assert world.reasons(mounting("p", "one")) == {}
    assert world.reasons(mounting("p", "two")) == {"a": TOO_MANY}


def test_a_pod_goes_to_one_of_its_volumes_zones():
    world = World()
    world.add_volume("v", labels={ZONE: "b__c"})
    world.add_claim("data", "v")
    assert world.reasons(mounting("p", "data")) == {"a": ELSEWHERE}


def in_zone(zone: str) -> Object:
    expressions = [{"key": ZONE, "operator": "In", "values": [zone]}]
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}


def test_claims_that_wait_need_a_free_volume_each_where_none_can_be_made():
    world = World()
    world.add(STORAGE_CLASSES, "local", provisioner="kubernetes.io/no-provisioner", **LATE)
    for name in ("one", "two"):
        world.add_claim(name, storage_class="local")
    assert world.reasons(mounting("p", "one")) == {"a": NOTHING, "b": NOTHING}
    for index, zone in enumerate(("a", "a", "b")):
        spec = {"storageClassName": "local", "capacity": {"storage": "1Gi"}, "nodeAffinity": in_zone(zone)}
        world.add_volume(f"v{index}", **spec)
    assert world.reasons(mounting("p", "one")) == {}
    assert world.reasons(mounting("p", "one", "two")) == {"b": NOTHING}


def test_a_volume_is_made_only_where_its_class_allows():
    world = World()
    allowed = [{"matchLabelExpressions": [{"key": ZONE, "values": ["a"]}]}]
    world.add(STORAGE_CLASSES, "zonal", provisioner="example.com/x", allowedTopologies=allowed, **LATE)
    world.add_claim("data", storage_class="zonal")
    assert world.reasons(mounting("p", "data")) == {"b": NOTHING}
