"""Keep what one node's rules must be, and tell what a change of a pod, namespace or policy changes in them. Pure.

Theory of operation. Of each local pod that policies select we know its *selections*: for a direction the set of what
those policies say (rules, not names: policies that say the same count once). Selections, rules and the groups that
rules ask are shared and counted: they are made when the first needs them, and go with the last. A group that is used is
kept equal to the pods that it selects, in the whole cluster, so a pod's change touches the groups that it enters and
leaves, and a local pod's own selections; a policy's change touches the local pods of its namespace.

`take_changes` returns what has changed since it was last called.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from proa.network.policy.compiled import EGRESS, INGRESS, Block, Group, NamedPort, Pods, Policy, Rule
from proa.network.policy.members import Member, Pod, PodKey, is_in, members_of

Direction = Literal["Ingress", "Egress"]
Rules = tuple[Rule, ...]
Selection = frozenset[Rules]
"""What several policies say of one direction: each allows what its rules do; with no rules, nothing."""


class PolicyKey(NamedTuple):
    """A NetworkPolicy."""

    namespace: str
    name: str


class Place(NamedTuple):
    """One direction of one address of a local pod."""

    direction: Direction
    address: str


class Judged(NamedTuple):
    """What is said of one direction: selections are shared by direction."""

    direction: Direction
    selection: Selection


@dataclass(slots=True)
class Changes:
    """What to make, and what to remove, in this order: groups and what is in them, selections, places; then back."""

    new_groups: list[Group] = field(default_factory=list)
    added: dict[Group, set[Member]] = field(default_factory=dict)
    removed: dict[Group, set[Member]] = field(default_factory=dict)
    new_selections: list[Judged] = field(default_factory=list)
    places: dict[Place, tuple[Judged | None, Judged | None]] = field(default_factory=dict)
    """Was, and is."""
    gone_selections: list[Judged] = field(default_factory=list)
    gone_groups: list[Group] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        """Tell whether nothing has changed."""
        return not (
            self.new_groups
            or self.added
            or self.removed
            or self.new_selections
            or self.places
            or self.gone_selections
            or self.gone_groups
        )


class PolicyState:
    """One node's."""

    def __init__(self) -> None:
        self._pods: dict[PodKey, Pod] = {}
        self._by_namespace: dict[str, set[PodKey]] = defaultdict(set)
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._policies: dict[str, dict[PolicyKey, Policy]] = defaultdict(dict)
        self._places: dict[PodKey, dict[Place, Judged]] = {}
        self._owners: dict[Place, dict[PodKey, Judged]] = {}
        self._uses: Counter[Judged] = Counter()
        self._group_uses: Counter[Group] = Counter()
        self._members: dict[Group, dict[Member, set[PodKey]]] = {}
        self._local_groups: dict[str, set[Group]] = defaultdict(set)
        self._wide_groups: set[Group] = set()
        self._told: _Told = _Told()
        self._touched_members: dict[Group, set[Member]] = defaultdict(set)
        self._touched_places: set[Place] = set()

    # What is so

    def set_pod(self, key: PodKey, pod: Pod | None) -> None:
        """Note what a pod is now (None: it counts no more)."""
        before = self._pods.get(key)
        if pod == before:
            return
        if pod is None:
            del self._pods[key]
            self._by_namespace[key.namespace].discard(key)
        else:
            self._pods[key] = pod
            self._by_namespace[key.namespace].add(key)
        labels = [dict(found.labels) if found is not None else {} for found in (before, pod)]
        for group in (*self._local_groups[key.namespace], *self._wide_groups):
            was, now = (
                self._in_group(group, of, of_pod) for of, of_pod in zip((before, pod), labels, strict=True)
            )
            self._replace_members(group, key, was, now)
        if (before is not None and before.is_local) or (pod is not None and pod.is_local):
            self._select(key)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Note a namespace's labels (None: it is gone)."""
        before, now = self._namespaces.get(name, {}), labels or {}
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        if before == now:
            return
        for group in self._wide_groups:
            selector = _pods_of(group).namespaces
            if selector is None or selector.matches(before) == selector.matches(now):
                continue
            for key in self._by_namespace[name]:
                pod = self._pods[key]
                labels = dict(pod.labels)
                was, now_in = (self._in_group(group, pod, labels, of) for of in (before, now))
                self._replace_members(group, key, was, now_in)

    def set_policy(self, key: PolicyKey, policy: Policy | None) -> None:
        """Note what a policy says (None: it is gone)."""
        policies = self._policies[key.namespace]
        if policies.get(key) == policy:
            return
        if policy is None:
            del policies[key]
        else:
            policies[key] = policy
        for pod in [*self._by_namespace[key.namespace]]:
            if self._pods[pod].is_local:
                self._select(pod)

    # What follows

    def _in_group(
        self,
        group: Group,
        pod: Pod | None,
        labels: Mapping[str, str],
        namespace_labels: Mapping[str, str] | None = None,
    ) -> set[Member]:
        if pod is None:
            return set()
        if namespace_labels is None:
            namespace_labels = self._namespaces.get(pod.key.namespace, {})
        if not is_in(pod, labels, _pods_of(group), namespace_labels):
            return set()
        return members_of(pod, group)

    def _replace_members(self, group: Group, key: PodKey, before: set[Member], now: set[Member]) -> None:
        if before == now:
            return
        members = self._members[group]
        for member in before - now:
            owners = members.get(member, set())
            owners.discard(key)
            if not owners:
                members.pop(member, None)
                self._touched_members[group].add(member)
        for member in now - before:
            owners = members.setdefault(member, set())
            if not owners:
                self._touched_members[group].add(member)
            owners.add(key)

    def _select(self, key: PodKey) -> None:
        """Find anew what is said of a local pod."""
        pod = self._pods.get(key)
        wanted = dict(self._judge(pod)) if pod is not None and pod.is_local else {}
        before = self._places.pop(key, {})
        if wanted:
            self._places[key] = wanted
        for place in before.keys() | wanted.keys():
            if before.get(place) == wanted.get(place):
                continue
            owners = self._owners.setdefault(place, {})
            owners.pop(key, None)
            if judged := wanted.get(place):
                owners[key] = judged
                self._use(judged)
            if place in before:
                self._uses[before[place]] -= 1
            if not owners:
                del self._owners[place]
            self._touched_places.add(place)

    def _judge(self, pod: Pod) -> Iterator[tuple[Place, Judged]]:
        labels = dict(pod.labels)
        policies = self._policies[pod.key.namespace].values()
        chosen = [policy for policy in policies if policy.pods.pods.matches(labels)]
        for direction in (INGRESS, EGRESS):
            said = [p.ingress if direction == INGRESS else p.egress for p in chosen]
            selection = frozenset(rules for rules in said if rules is not None)
            if selection:
                for address in pod.addresses:
                    judged = Judged(_direction(direction), selection)
                    yield Place(judged.direction, address), judged

    def _use(self, judged: Judged) -> None:
        is_new = judged not in self._uses  # one that nobody uses is there until changes are taken
        self._uses[judged] += 1
        if is_new:
            for group in groups_of(judged.selection):
                self._group_uses[group] += 1
                if group not in self._members:
                    self._fill(group)

    def _fill(self, group: Group) -> None:
        members: dict[Member, set[PodKey]] = {}
        pods = _pods_of(group)
        if pods.namespaces is None:
            keys: Iterable[PodKey] = self._by_namespace[pods.namespace]
            self._local_groups[pods.namespace].add(group)
        else:
            keys = self._pods
            self._wide_groups.add(group)
        for key in keys:
            pod = self._pods[key]
            for member in self._in_group(group, pod, dict(pod.labels)):
                members.setdefault(member, set()).add(key)
        self._members[group] = members

    # What to do

    def take_changes(self) -> Changes:
        """Return what has changed since this was last called."""
        changes = Changes()
        unused = [judged for judged, count in self._uses.items() if not count]
        for judged in unused:
            del self._uses[judged]
        for judged in self._uses.keys() - self._told.selections:
            changes.new_selections.append(judged)
        for judged in unused:
            for group in groups_of(judged.selection):
                self._group_uses[group] -= 1
        for judged in self._told.selections - self._uses.keys():
            changes.gone_selections.append(judged)
        self._drop_unused_groups()
        for group in self._members.keys() - self._told.groups:
            changes.new_groups.append(group)
            if members := self._members[group]:
                changes.added[group] = {*members}
        changes.gone_groups += self._told.groups - self._members.keys()
        self._note_members(changes)
        for place in self._touched_places:
            was, now = self._told.places.get(place), self._judged_at(place)
            if was != now:
                changes.places[place] = was, now
        self._touched_places.clear()
        self._told.accept(changes)
        return changes

    def _drop_unused_groups(self) -> None:
        for group in [group for group, count in self._group_uses.items() if not count]:
            del self._group_uses[group]
            self._members.pop(group, None)
            self._local_groups[_pods_of(group).namespace].discard(group)
            self._wide_groups.discard(group)

    def _note_members(self, changes: Changes) -> None:
        known = self._told.groups
        for group, touched in self._touched_members.items():
            if group not in self._members or group not in known:
                continue
            was, members = self._told.members[group], self._members[group]
            if added := {m for m in touched if m in members and m not in was}:
                changes.added[group] = added
            if removed := {m for m in touched if m not in members and m in was}:
                changes.removed[group] = removed
        self._touched_members.clear()

    def _judged_at(self, place: Place) -> Judged | None:
        owners = self._owners.get(place)
        return next(reversed(owners.values())) if owners else None

    def forget_told(self) -> None:
        """Have the next changes be everything."""
        self._told = _Told()
        self._touched_places |= self._owners.keys()


@dataclass(slots=True)
class _Told:
    """What all changes that were taken come to."""

    selections: set[Judged] = field(default_factory=set)
    groups: set[Group] = field(default_factory=set)
    members: dict[Group, set[Member]] = field(default_factory=dict)
    places: dict[Place, Judged] = field(default_factory=dict)

    def accept(self, changes: Changes) -> None:
        for group in changes.gone_groups:
            self.groups.discard(group)
            del self.members[group]
        for group in changes.new_groups:
            self.groups.add(group)
            self.members[group] = set()
        for group, members in changes.added.items():
            self.members[group] |= members
        for group, members in changes.removed.items():
            self.members[group] -= members
        self.selections |= {*changes.new_selections}
        self.selections -= {*changes.gone_selections}
        for place, (_, now) in changes.places.items():
            if now is None:
                self.places.pop(place, None)
            else:
                self.places[place] = now


def groups_of(selection: Selection) -> set[Group]:
    """Return the groups that rules ask."""
    found: set[Group] = set()
    for rules in selection:
        for rule in rules:
            found |= {peer for peer in rule.peers or () if not isinstance(peer, Block)}
            found |= {*rule.named}
    return found


def _pods_of(group: Group) -> Pods:
    return group.pods if isinstance(group, NamedPort) else group


def _direction(name: str) -> Direction:
    return "Ingress" if name == INGRESS else "Egress"
