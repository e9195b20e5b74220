"""Keep one node's rules equal to what NetworkPolicies say of its pods, and say so where they cannot be.

Watches networkpolicies, namespaces and pods; writes nftables rules of the node's, and Events on policies that are not
enforced. The rules outlive the server: a new one makes its own beside them, in another table, before it takes the old
ones away, so that pods are never without. Follows sigs.k8s.io/kube-network-policies in what it watches.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from proa.client.protocol import Object
from proa.network.netfilter.messages import EXCLUSIVE, Message, Refused, check, transaction
from proa.network.policy.compiled import compile_policy
from proa.network.policy.members import Pod, PodKey, read_pod
from proa.network.policy.rules import PolicyTable, Step, transactions
from proa.network.policy.state import Changes, PolicyKey, PolicyState
from proa.network.protocol import NodeNetwork
from proa.objects import meta
from proa.objects.resource import NAMESPACES, NETWORK_POLICIES, PODS
from proa.reconcile.informer import InformerFactory
from proa.reconcile.protocol import EventRecorder

logger = logging.getLogger(__name__)

TABLES = ("proa_policy_a", "proa_policy_b")
MAX_TRANSACTION_BYTES = 96 << 10
FIRST_BACK_OFF_SECONDS = 0.5
MAX_BACK_OFF_SECONDS = 30.0
FAILURES_UNTOLD = 2
OBJECTS_A_TURN = 50
"""So many changes are worked out in one go; then others have their turn."""
DNS_POD = PodKey("kube-system", "(the cluster's DNS)")


class _Starting(NamedTuple):
    """A pod of this node with the addresses that it has, which its status may not say yet."""

    pod: Object
    addresses: frozenset[str]
    ordered: tuple[str, ...]

    def is_of(self, pod: Object) -> bool:
        return meta.uid(pod) == meta.uid(self.pod)


def dns_pod(addresses: Iterable[str]) -> Pod:
    """Return the cluster's DNS as the pod that it is elsewhere: what policies commonly allow."""
    ports = (("UDP", "dns", 53), ("TCP", "dns-tcp", 53))
    return Pod(DNS_POD, (("k8s-app", "kube-dns"),), tuple(addresses), ports, is_local=False)


class PolicyAgent:
    """One node's. `families` are those that pods have addresses of; `dns_addresses` and `api_addresses` are on the
    node, and judged all the same. `why_not` says why there can be no rules, "" where there can."""

    def __init__(
        self,
        informers: InformerFactory,
        node_network: NodeNetwork,
        events: EventRecorder,
        node_name: str,
        *,
        families: Sequence[str] = ("IPv4", "IPv6"),
        dns_addresses: Sequence[str] = (),
        api_addresses: Sequence[str] = (),
        why_not: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._policies = informers.informer(NETWORK_POLICIES)
        self._namespaces = informers.informer(NAMESPACES)
        self._pods = informers.informer(PODS)
        self._node_network = node_network
        self._events = events
        self._node_name = node_name
        self._families = families
        self._judged_here = (*dns_addresses, *api_addresses)
        self._why_not = why_not
        self._sleep = sleep
        self._state = PolicyState()
        self._state.set_pod(DNS_POD, dns_pod(dns_addresses))
        self._tables: list[PolicyTable] = []
        self._used_name = ""
        self._dirty: dict[tuple[str, str, str], None] = {}
        self._early: dict[PodKey, _Starting] = {}
        self._wake = asyncio.Event()
        self._applying = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._listeners = (
            (self._policies, self._policy_changed),
            (self._namespaces, self._namespace_changed),
            (self._pods, self._pod_changed),
        )

    async def start(self) -> None:
        """Follow the informers from now on."""
        if self._why_not:
            self._policies.listen(self._tell)
            return
        for informer, listener in self._listeners:
            informer.listen(listener)
        self._task = asyncio.create_task(self._run(), name=f"network policies of {self._node_name}")

    async def renew(self) -> None:
        """Make all rules again, in a node that was made anew."""
        if self._task is None:
            return
        async with self._applying:
            self._tables = []
            self._used_name = ""
        self._wake.set()

    async def stop(self) -> None:
        """Follow no more; the rules stay, for pods may."""
        self._policies.unlisten(self._tell)
        for informer, listener in self._listeners:
            informer.unlisten(listener)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def protect(self, pod: Object, addresses: Sequence[str]) -> None:
        """Return when what policies say of a pod that is about to start holds; raise what the node says."""
        if self._task is None or not addresses:
            return
        key = PodKey(meta.namespace(pod), meta.name(pod))
        for other, starting in [*self._early.items()]:
            if other != key and not starting.addresses.isdisjoint(addresses):
                del self._early[other]  # it has no address any more
                self._dirty["pod", *other] = None
        self._early[key] = _Starting(pod, frozenset(addresses), tuple(addresses))
        await self._wait_synced()
        self._dirty["pod", *key] = None
        await self._apply()

    # What has changed

    def _policy_changed(self, old: Object | None, new: Object | None) -> None:
        self._note("policy", new or old or {})

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or meta.labels(old) != meta.labels(new):
            self._note("namespace", new or old or {})

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        if old is not None and new is not None and self._read(old) == self._read(new):
            return
        key = PodKey(meta.namespace(pod), meta.name(pod))
        if new is None and key in self._early and self._early[key].is_of(pod):
            del self._early[key]
        self._note("pod", pod)

    def _note(self, kind: str, obj: Object) -> None:
        self._dirty[kind, meta.namespace(obj), meta.name(obj)] = None
        self._wake.set()

    def _read(self, pod: Object) -> Pod | None:
        starting = self._early.get(PodKey(meta.namespace(pod), meta.name(pod)))
        is_it = starting is not None and starting.is_of(pod)
        return read_pod(pod, self._node_name, starting.ordered if starting is not None and is_it else ())

    def _tell(self, old: Object | None, new: Object | None) -> None:
        if new is not None and old is None:
            message = f"not enforced for pods of node {self._node_name}: {self._why_not}"
            self._events.event(new, "Warning", "NotEnforced", message)

    # What to do about it

    async def _wait_synced(self) -> None:
        for informer, _ in self._listeners:
            await informer.wait_synced()

    async def _run(self) -> None:
        await self._wait_synced()
        failures = 0
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._apply()
                failures = 0
            except Exception as error:
                logger.exception("network policies not applied attempt=%d", failures + 1)
                if failures == FAILURES_UNTOLD:  # a node that is made anew refuses the first few
                    self._tell_all(str(error))
                self._wake.set()
                await self._sleep(min(FIRST_BACK_OFF_SECONDS * 2.0**failures, MAX_BACK_OFF_SECONDS))
                failures = min(failures + 1, 10)

    def _tell_all(self, why: str) -> None:
        for policy in self._policies.list():
            message = f"changes are not enforced yet on node {self._node_name}: {why}"
            self._events.event(policy, "Warning", "NotEnforced", message)

    async def _apply(self) -> None:
        async with self._applying:
            await self._work_off()
            if not self._tables:
                await self._begin()
            changes = self._state.take_changes()
            if changes.is_nothing:
                return
            tables, self._tables = self._tables, []  # in doubt until it is done
            await self._carry_out(tables, changes)
            self._tables = tables

    async def _work_off(self) -> None:
        done = 0
        while self._dirty:
            key = next(iter(self._dirty))
            del self._dirty[key]
            self._update(*key)
            done += 1
            if done % OBJECTS_A_TURN == 0:
                await asyncio.sleep(0)

    def _update(self, kind: str, namespace: str, name: str) -> None:
        if kind == "policy":
            policy = self._policies.get(name, namespace)
            compiled = compile_policy(policy) if policy is not None else None
            self._state.set_policy(PolicyKey(namespace, name), compiled)
        elif kind == "namespace":
            found = self._namespaces.get(name)
            self._state.set_namespace(name, meta.labels(found) if found is not None else None)
        else:
            key = PodKey(namespace, name)
            pod, starting = self._pods.get(name, namespace), self._early.get(key)
            if starting is not None and (pod is None or not starting.is_of(pod)):
                pod = starting.pod  # not in the cache yet, or another of its name still is
            self._state.set_pod(key, self._read(pod) if pod is not None else None)

    async def _begin(self) -> None:
        """Make all rules in a table of another name than those that are in force, and then remove these."""
        self._state.forget_told()
        name = await self._choose_name()
        tables = [PolicyTable(family, name) for family in self._families]
        for table in tables:
            family_of = [ip for ip in self._judged_here if (":" in ip) == (table.version == 6)]
            await self._send([table.base(family_of)])
        await self._carry_out(tables, self._state.take_changes())
        for other in TABLES:
            if other != name:
                await self._send([PolicyTable(family, other).table.removal() for family in self._families])
        self._used_name, self._tables = name, tables

    async def _choose_name(self) -> str:
        """Return the name that is not in force: known from this run's own, else by trying."""
        if not self._used_name:
            table = PolicyTable(self._families[0], TABLES[0]).table
            try:
                await self._send([[table.add(EXCLUSIVE)]])
            except Refused as refused:
                if refused.errno != errno.EEXIST:
                    raise
                self._used_name = TABLES[0]
            else:
                return TABLES[0]
        return TABLES[1 - TABLES.index(self._used_name)]

    async def _carry_out(self, tables: Sequence[PolicyTable], changes: Changes) -> None:
        for table in tables:
            await self._send(table.steps(changes))

    async def _send(self, steps: Iterable[Step]) -> None:
        for messages in transactions(steps, MAX_TRANSACTION_BYTES):
            await self._send_one(messages)

    async def _send_one(self, messages: Sequence[Message]) -> None:
        check(messages, await self._node_network.ask_netfilter(transaction(messages)))
