"""What does a pod's change cost where there are 1,000 pods and 100 policies? Beside writing all rules anew.

The rules of one node (110 of the pods are its own), in the kernel, in a network namespace of this process's own where
it may have one; else they are only worked out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from proa.network.netfilter.messages import check, transaction
from proa.network.policy.compiled import compile_policy
from proa.network.policy.members import PodKey, read_pod
from proa.network.policy.rules import PolicyTable, Step, transactions
from proa.network.policy.state import PolicyKey, PolicyState

PODS, LOCAL_PODS, POLICIES, NAMESPACES, APPS = 1000, 110, 100, 10, 20
CHANGES = 200


def make_pod(number: int, app: int) -> Any:
    """Return what policies know of a pod."""
    return read_pod(
        {
            "metadata": {
                "namespace": f"n{number % NAMESPACES}",
                "name": f"p{number}",
                "labels": {"app": f"a{app}"},
            },
            "spec": {"nodeName": "here" if number < LOCAL_PODS else "there", "containers": []},
            "status": {"podIPs": [{"ip": f"10.244.{1 + number // 200}.{2 + number % 200}"}]},
        },
        "here",
    )


def make_policy(number: int) -> Any:
    """Return a policy: some pods of a namespace take from others of it, and from a whole other namespace."""
    peers = [
        {"podSelector": {"matchLabels": {"app": f"a{(number + 1) % APPS}"}}},
        {
            "namespaceSelector": {"matchLabels": {"name": f"n{(number + 1) % NAMESPACES}"}},
            "podSelector": {"matchLabels": {"app": f"a{(number + 2) % APPS}"}},
        },
    ]
    spec = {
        "podSelector": {"matchLabels": {"app": f"a{number % APPS}"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": peers, "ports": [{"port": 8080}]}],
        "egress": [{"to": peers}],
    }
    return compile_policy({"metadata": {"namespace": f"n{number % NAMESPACES}"}, "spec": spec})


def run(quick: bool) -> list[dict[str, Any]]:
    """Return the row."""
    command = [sys.executable, __file__, *(["quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ)
    everything, change, where = json.loads(done.stdout)
    return [
        {
            "name": f"a pod's change, {PODS} pods, {POLICIES} network policies ({where})",
            "value": change,
            "unit": "ms CPU",
            "baseline": "all rules anew",
            "baseline_value": everything,
            "ratio": everything / change,
        }
    ]


def measure(quick: bool) -> tuple[float, float, str]:
    """Return milliseconds of processor time: for everything, and for a change; and where the rules went."""
    from proa.node.noded import linux

    has_kernel = os.geteuid() == 0
    if has_kernel:
        linux.unshare(linux.CLONE_NEWNET)
    state, table = PolicyState(), PolicyTable("IPv4", "bench")
    began = time.process_time()
    for number in range(NAMESPACES):
        state.set_namespace(f"n{number}", {"name": f"n{number}"})
    for number in range(PODS):
        state.set_pod(PodKey(f"n{number % NAMESPACES}", f"p{number}"), make_pod(number, number % APPS))
    for number in range(POLICIES):
        state.set_policy(PolicyKey(f"n{number % NAMESPACES}", f"q{number}"), make_policy(number))
    send([table.base([])], has_kernel)
    send(table.steps(state.take_changes()), has_kernel)
    everything = time.process_time() - began

    rounds = CHANGES // 4 if quick else CHANGES
    began = time.process_time()
    for turn in range(rounds):
        number = 13 * turn % PODS
        state.set_pod(
            PodKey(f"n{number % NAMESPACES}", f"p{number}"), make_pod(number, (number + turn) % APPS)
        )
        send(table.steps(state.take_changes()), has_kernel)
    a_change = (time.process_time() - began) / rounds
    return everything * 1000, a_change * 1000, "in the kernel" if has_kernel else "worked out"


def send(steps: Iterable[Step], has_kernel: bool) -> None:
    """Have the kernel carry steps out."""
    from proa.node.noded import netfilter

    for messages in transactions(steps, 96 << 10):
        data = transaction(messages)
        if has_kernel:
            check(messages, netfilter.ask(data))


if __name__ == "__main__":
    print(json.dumps(measure(quick="quick" in sys.argv)))
