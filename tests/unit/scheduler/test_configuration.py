"""A KubeSchedulerConfiguration makes profiles; what it cannot say is refused with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from proa.client.fake import FakeClient
from proa.objects.resource import PODS
from proa.reconcile.informer import InformerFactory
from proa.scheduler.configuration import (
    BadConfiguration,
    Configuration,
    ProfileSettings,
    read_configuration,
    without_effect,
)
from proa.scheduler.framework import Profile
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins import PLUGINS, Parts
from proa.scheduler.pod_info import make_pod_info
from proa.scheduler.profiles import load_configuration, make_profile
from proa.scheduler.snapshot import Snapshot

from .conftest import make_node, make_pod
from .test_cycle import Cluster, with_scheduler


def configuration(**fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        **fields,
    }


def one_profile(**fields: Any) -> dict[str, Any]:
    return configuration(profiles=[{"schedulerName": "mine", **fields}])


def read(document: Any) -> Configuration:
    return read_configuration(document, tuple(PLUGINS))


def profile(**fields: Any) -> Profile:
    client = FakeClient()
    parts = Parts(client, InformerFactory(client), Snapshot())
    return make_profile(read(one_profile(**fields)).profiles[0], parts)


def test_nothing_said_is_what_there_is_by_default():
    assert read(configuration()) == Configuration((ProfileSettings(),), 1, 10)
    made = profile()
    assert [plugin.NAME for plugin in made.plugins] == [*PLUGINS]
    assert made.weights == {
        "TaintToleration": 3, "NodeAffinity": 2, "NodeResourcesFit": 1,
        "PodTopologySpread": 2, "InterPodAffinity": 2, "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1,
    }  # fmt: skip


def test_plugins_are_enabled_and_disabled_everywhere_or_at_a_point():
    made = profile(
        plugins={
            "multiPoint": {
                "disabled": [{"name": "ImageLocality"}],
                "enabled": [{"name": "NodeAffinity", "weight": 9}],
            },
            "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit", "weight": 5}]},
            "filter": {"disabled": [{"name": "TaintToleration"}]},
            "postFilter": {"disabled": [{"name": "DefaultPreemption"}]},
        }
    )
    assert made.plugin("ImageLocality") is None
    assert made.weights == {"NodeResourcesFit": 5}
    assert "TaintToleration" not in [plugin.NAME for plugin in made.filters]
    assert "NodeAffinity" in [plugin.NAME for plugin in made.filters]
    assert not made.takes_part("DefaultPreemption", "postFilter")


def test_only_what_is_named_takes_part_where_all_others_are_disabled():
    every = {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit"}, {"name": "PrioritySort"}]}
    made = profile(plugins={"multiPoint": every, "filter": {"enabled": [{"name": "NodeAffinity"}]}})
    assert [plugin.NAME for plugin in made.plugins] == ["NodeAffinity", "NodeResourcesFit"]
    assert [plugin.NAME for plugin in made.filters] == ["NodeAffinity", "NodeResourcesFit"]
    assert made.weights == {"NodeResourcesFit": 1}


def fit_score(strategy: dict[str, Any], requests: dict[str, str]) -> int:
    made = profile(pluginConfig=[{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}])
    node = make_node("n", cpu="4", memory="8Gi")
    node["status"]["allocatable"]["example.com/gpu"] = "4"
    pod = make_pod("p")
    pod["spec"]["containers"][0]["resources"] = {"requests": requests}
    plugin: Any = made.plugin("NodeResourcesFit")
    score: int = plugin.score(make_pod_info(pod), NodeInfo(node), None)
    return score


GPU_WEIGHTS = [{"name": "cpu", "weight": 1}, {"name": "example.com/gpu", "weight": 3}]
SHAPE = [{"utilization": 0, "score": 0}, {"utilization": 50, "score": 10}, {"utilization": 100, "score": 5}]


@pytest.mark.parametrize(
    ("strategy", "requests", "score"),
    [
        ({"type": "LeastAllocated"}, {"cpu": "1", "memory": "2Gi"}, 75),
        ({"type": "MostAllocated"}, {"cpu": "1", "memory": "2Gi"}, 25),
        ({"type": "MostAllocated", "resources": GPU_WEIGHTS}, {"cpu": "1", "example.com/gpu": "2"}, 43),
        ({"type": "MostAllocated", "resources": GPU_WEIGHTS}, {"cpu": "1"}, 25),
        (
            {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": SHAPE}},
            {"cpu": "1", "memory": "2Gi"},
            50,
        ),
        (
            {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": SHAPE}},
            {"cpu": "3", "memory": "8Gi"},
            63,
        ),
    ],
)
def test_nodes_are_scored_by_the_strategy_that_is_asked_for(strategy, requests, score):
    assert fit_score(strategy, requests) == score


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "not a mapping"),
        ({"kind": "Pod"}, "not a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"),
        (configuration(extenders=[]), 'unknown field "extenders"'),
        (one_profile(plugin={}), 'unknown field "profiles[0].plugin"'),
        (configuration(parallelism="many"), "parallelism: 'many' is not of type int"),
        (configuration(profiles=[{}]), "profiles[0].schedulerName: Required value"),
        (
            configuration(profiles=[{"schedulerName": "a"}, {"schedulerName": "a"}]),
            'profiles[1].schedulerName: Duplicate value: "a"',
        ),
        (
            configuration(podInitialBackoffSeconds=0),
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            configuration(podInitialBackoffSeconds=20),
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            one_profile(plugins={"filter": {"enabled": [{"name": "Magic"}]}}),
            'profiles[0].plugins.filter.enabled[0]: plugin "Magic" does not exist',
        ),
        (
            one_profile(plugins={"bind": {"disabled": [{"name": "*"}]}}),
            "profiles[0].plugins.bind: no bind plugin is enabled",
        ),
        (one_profile(plugins={"sort": {}}), 'unknown field "profiles[0].plugins.sort"'),
        (
            one_profile(pluginConfig=[{"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 101}}]),
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            one_profile(pluginConfig=[{"name": "InterPodAffinity", "args": {"hard": 1}}]),
            'unknown field "profiles[0].pluginConfig[0].args.hard"',
        ),
        (
            one_profile(pluginConfig=[{"name": "ImageLocality"}]),
            'profiles[0].pluginConfig[0]: plugin "ImageLocality" takes no arguments',
        ),
        (
            one_profile(pluginConfig=[{"name": "VolumeBinding"}, {"name": "VolumeBinding"}]),
            'profiles[0].pluginConfig[1]: Duplicate value: "VolumeBinding"',
        ),
        (
            one_profile(
                pluginConfig=[{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "Fewest"}}}]
            ),
            'profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "Fewest": supported values: '
            '"LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"',
        ),
        (
            one_profile(
                pluginConfig=[{"name": "PodTopologySpread", "args": {"defaultConstraints": [{"maxSkew": 1}]}}]
            ),
            "profiles[0].pluginConfig[0].args.defaultConstraints: Invalid value: when .defaultingType is System, it "
            "must be empty; profiles[0].pluginConfig[0].args.defaultConstraints[0].topologyKey: Required value: can "
            "not be empty; profiles[0].pluginConfig[0].args.defaultConstraints[0].whenUnsatisfiable: Required value: "
            "DoNotSchedule or ScheduleAnyway",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(document, problem):
    with pytest.raises(BadConfiguration) as refused:
        read(document)
    assert str(refused.value) == problem


def test_what_has_no_effect_is_known():
    document = configuration(parallelism=4, profiles=[{"schedulerName": "a", "percentageOfNodesToScore": 5}])
    assert read(document).profiles[0].name == "a"
    assert without_effect(document) == ["parallelism", "profiles[0].percentageOfNodesToScore"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    path = tmp_path / "scheduler.yaml"
    with pytest.raises(BadConfiguration, match=r"scheduler\.yaml: No such file"):
        load_configuration(str(path))
    path.write_text("{")
    with pytest.raises(BadConfiguration, match=r"scheduler\.yaml: while parsing"):
        load_configuration(str(path))
    path.write_text(yaml.safe_dump(configuration(profiles=[{"schedulerName": "mine"}])))
    assert [each.name for each in load_configuration(str(path)).profiles] == ["mine"]


def test_each_pod_is_scheduled_by_the_profile_that_it_names():
    packing = {"scoringStrategy": {"type": "MostAllocated"}}
    profiles = [
        {"schedulerName": "default-scheduler"},
        {"schedulerName": "packing", "pluginConfig": [{"name": "NodeResourcesFit", "args": packing}]},
    ]

    async def scenario(cluster: Cluster) -> None:
        await cluster.create(PODS, make_pod("there", cpu="1", memory="2Gi", nodeName="n1"))
        await cluster.create(PODS, make_pod("spread", cpu="1", memory="2Gi"))
        await cluster.expect_node("spread", "n2")
        await cluster.client.delete(PODS, "spread", "default", grace_period_seconds=0)
        await cluster.create(PODS, make_pod("packed", cpu="1", memory="2Gi", schedulerName="packing"))
        await cluster.expect_node("packed", "n1")
        await cluster.create(PODS, make_pod("nobodys", schedulerName="other"))
        await cluster.create(PODS, make_pod("last", cpu="1", memory="2Gi"))
        await cluster.expect_node("last", "n2")
        assert cluster.node_of("nobodys") == ""

    with_scheduler(
        scenario,
        nodes=(make_node("n1"), make_node("n2")),
        configuration=read(configuration(profiles=profiles)),
    )
