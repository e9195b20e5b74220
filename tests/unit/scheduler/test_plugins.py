from __future__ import annotations

import pytest

from proa.objects.pods import HostPort
from proa.scheduler.framework import Code
from proa.scheduler.node_info import NodeInfo
from proa.scheduler.plugins.balanced_allocation import BalancedAllocation
from proa.scheduler.plugins.node_affinity import NodeAffinity
from proa.scheduler.plugins.node_ports import NodePorts
from proa.scheduler.plugins.node_resources_fit import NodeResourcesFit
from proa.scheduler.plugins.node_unschedulable import NodeUnschedulable
from proa.scheduler.plugins.scheduling_gates import SchedulingGates
from proa.scheduler.plugins.taint_toleration import TaintToleration
from proa.scheduler.pod_info import make_pod_info
from proa.scheduler.ranking_groups import normalized

GPU = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
SOFT = {"key": "old", "effect": "PreferNoSchedule"}


def required(*terms):
    return {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    }


def expression(key, operator, *values):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def reasons(plugin, pod, node):
    status = plugin.filter(make_pod_info(pod), node, None)
    return None if status is None else status.reasons


@pytest.mark.parametrize(
    ("tolerations", "fits"),
    [
        ([], False),
        ([{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}], True),
        ([{"key": "gpu", "value": "yes"}], True),
        ([{"key": "gpu", "value": "no"}], False),
        ([{"key": "gpu", "operator": "Exists"}], True),
        ([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}], False),
        ([{"operator": "Exists"}], True),
        ([{"key": "other", "operator": "Exists"}], False),
    ],
)
def test_a_taint_keeps_off_pods_that_do_not_tolerate_it(pod, node, tolerations, fits):
    found = reasons(TaintToleration(), pod("p", tolerations=tolerations), NodeInfo(node("n", taints=[GPU])))
    assert found == (None if fits else ("node(s) had untolerated taint(s)",))


def test_a_soft_taint_only_costs_score(pod, node):
    plugin, tainted = TaintToleration(), NodeInfo(node("n", taints=[SOFT]))
    assert reasons(plugin, pod("p"), tainted) is None
    assert plugin.score(make_pod_info(pod("p")), tainted, None) == 1
    tolerant = make_pod_info(pod("p", tolerations=[{"key": "old", "operator": "Exists"}]))
    assert plugin.score(tolerant, tainted, None) == 0


def test_a_cordoned_node_takes_only_pods_that_tolerate_it(pod, node):
    cordoned = NodeInfo(node("n", unschedulable=True))
    tolerations = [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}]
    assert reasons(NodeUnschedulable(), pod("p"), cordoned) == ("node(s) were unschedulable",)
    assert reasons(NodeUnschedulable(), pod("p", tolerations=tolerations), cordoned) is None


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"nodeSelector": {"disk": "ssd"}}, True),
        ({"nodeSelector": {"disk": "ssd", "zone": "b"}}, False),
        ({"affinity": required(expression("disk", "In", "hdd", "ssd"))}, True),
        ({"affinity": required(expression("disk", "NotIn", "ssd"))}, False),
        ({"affinity": required(expression("disk", "Exists"))}, True),
        ({"affinity": required(expression("zone", "DoesNotExist"))}, False),
        ({"affinity": required(expression("size", "Gt", "2"))}, True),
        ({"affinity": required(expression("size", "Lt", "3"))}, False),
        ({"affinity": required(expression("zone", "In", "b"), expression("disk", "In", "ssd"))}, True),
        ({"affinity": required({})}, False),
        (
            {
                "affinity": required(
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
                )
            },
            True,
        ),
        (
            {
                "affinity": required(
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}
                )
            },
            False,
        ),
    ],
)
def test_a_pod_goes_where_its_selector_and_affinity_say(pod, node, spec, fits):
    info = NodeInfo(node("n", labels={"disk": "ssd", "zone": "a", "size": "3"}))
    found = reasons(NodeAffinity(), pod("p", **spec), info)
    assert found == (None if fits else ("node(s) didn't match Pod's node affinity/selector",))


def test_preferred_terms_add_up(pod, node):
    terms = [
        {"weight": 30, "preference": expression("disk", "In", "ssd")},
        {"weight": 5, "preference": expression("zone", "Exists")},
        {"weight": 50, "preference": expression("zone", "In", "b")},
    ]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    info = NodeInfo(node("n", labels={"disk": "ssd", "zone": "a"}))
    assert NodeAffinity().score(make_pod_info(pod("p", affinity=affinity)), info, None) == 35


@pytest.mark.parametrize(
    ("taken", "wanted", "fits"),
    [
        (HostPort("0.0.0.0", "TCP", 80), HostPort("0.0.0.0", "TCP", 80), False),
        (HostPort("0.0.0.0", "TCP", 80), HostPort("127.0.0.1", "TCP", 80), False),
        (HostPort("10.0.0.1", "TCP", 80), HostPort("127.0.0.1", "TCP", 80), True),
        (HostPort("0.0.0.0", "UDP", 80), HostPort("0.0.0.0", "TCP", 80), True),
        (HostPort("0.0.0.0", "TCP", 80), HostPort("0.0.0.0", "TCP", 81), True),
    ],
)
def test_a_host_port_is_taken_once(pod, node, taken, wanted, fits):
    def with_port(name: str, port: HostPort):
        made = pod(name)
        made["spec"]["containers"][0]["ports"] = [
            {"containerPort": 1, "hostPort": port.port, "hostIP": port.ip, "protocol": port.protocol}
        ]
        return made

    info = NodeInfo(node("n"))
    info.add(make_pod_info(with_port("there", taken)))
    found = reasons(NodePorts(), with_port("p", wanted), info)
    assert found == (None if fits else ("node(s) didn't have free ports for the requested pod ports",))


@pytest.mark.parametrize(
    ("cpu", "memory", "expected", "code"),
    [
        ("2", "1Gi", None, None),
        ("3", "1Gi", ("Insufficient cpu",), Code.UNSCHEDULABLE),
        ("3", "7Gi", ("Insufficient cpu", "Insufficient memory"), Code.UNSCHEDULABLE),
        ("5", "1Gi", ("Insufficient cpu",), Code.UNRESOLVABLE),
    ],
)
def test_a_pod_fits_where_everything_it_requests_is_free(pod, node, cpu, memory, expected, code):
    info = NodeInfo(node("n"))
    info.add(make_pod_info(pod("there", cpu="2", memory="2Gi")))
    status = NodeResourcesFit().filter(make_pod_info(pod("p", cpu=cpu, memory=memory)), info, None)
    assert (status.reasons if status else None, status.code if status else None) == (expected, code)


def test_a_node_takes_only_so_many_pods(pod, node):
    info = NodeInfo(node("n", pods="1"))
    assert reasons(NodeResourcesFit(), pod("p"), info) is None
    info.add(make_pod_info(pod("there")))
    assert reasons(NodeResourcesFit(), pod("p"), info) == ("Too many pods",)


def test_an_extended_resource_that_the_node_lacks_is_named(pod, node):
    wanting = pod("p")
    wanting["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "1"}}
    assert reasons(NodeResourcesFit(), wanting, NodeInfo(node("n"))) == ("Insufficient example.com/gpu",)


def test_emptier_and_more_even_nodes_score_higher(pod, node):
    empty, half = NodeInfo(node("a")), NodeInfo(node("b"))
    half.add(make_pod_info(pod("there", cpu="2", memory="4Gi")))
    info = make_pod_info(pod("p", cpu="1", memory="2Gi"))
    assert (NodeResourcesFit().score(info, empty, None), NodeResourcesFit().score(info, half, None)) == (
        75,
        25,
    )
    assert BalancedAllocation().score(info, empty, None) == 100
    assert BalancedAllocation().score(make_pod_info(pod("p", cpu="4")), empty, None) == 50


def test_a_gated_pod_stays_out_of_the_queue(pod):
    assert SchedulingGates().pre_enqueue(pod("p")) is None
    gated = SchedulingGates().pre_enqueue(pod("p", schedulingGates=[{"name": "example.com/wait"}]))
    assert gated is not None
    assert gated.reasons == ("waiting for scheduling gates: [example.com/wait]",)


@pytest.mark.parametrize(
    ("scores", "direction", "expected"),
    [
        ([1, 2], "", [1, 2]),
        ([1, 4, 0], "highest", [25, 100, 0]),
        ([1, 4, 0], "lowest", [75, 0, 100]),
        ([0, 0], "highest", [0, 0]),
        ([0, 0], "lowest", [100, 100]),
        ([], "lowest", []),
    ],
)
def test_counts_are_scaled(scores, direction, expected):
    assert normalized(scores, direction) == expected
