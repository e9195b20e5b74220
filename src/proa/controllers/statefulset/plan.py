"""Decide the next step of a StatefulSet: which pods to make, put right or delete, and whose claims to see to.

An ordered set takes one step at a time, and waits for each pod to be available before it goes on to the next:
first what is wanted, by rising ordinal; then what is to be scaled away and then what is outdated, by falling
ordinal. A parallel one does all of the first two at once. Follows upstream's
pkg/controller/statefulset/stateful_set_control.go (updateStatefulSet).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

from proa.client.protocol import Object
from proa.controllers.statefulset import identity, retention
from proa.controllers.statefulset.identity import ordinal_of, revision_name
from proa.objects import meta
from proa.objects.pods import is_terminated, phase
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.pod_control import is_available

MOST_AT_ONCE = 500
"""At most so many pods are made in one go; the next step follows when they are there."""
FindClaim = Callable[[str], Object | None]
"""Returns the claim of that name in the set's namespace."""


class Revisions(NamedTuple):
    """Of what pods are made: `current` until a rollout has come to them, then `update`."""

    current: Object
    update: Object


class Birth(NamedTuple):
    """A pod to make, after the claims that it lacks. `refusal` says why it cannot be made yet.

    `conflicts` are its claims that somebody else controls, so that they will not go with it.
    """

    pod: Object
    claims: tuple[Object, ...] = ()
    refusal: str = ""
    conflicts: tuple[str, ...] = ()


class Plan(NamedTuple):
    """What to do, in this order. `furnish` are pods that are there and lack claims."""

    create: tuple[Birth, ...] = ()
    furnish: tuple[Birth, ...] = ()
    reown: tuple[Object, ...] = ()
    correct: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()


def plan(
    stateful_set: Object, pods: Sequence[Object], revisions: Revisions, find_claim: FindClaim, now: float
) -> Plan:
    """Compare the pods that the set owns, and their claims, with what it wants."""
    if meta.is_deleting(stateful_set):
        return Plan()
    draft = _Draft(stateful_set, revisions, find_claim, now)
    wanted = identity.ordinals(stateful_set)
    members: Mapping[int, Object] = {ordinal_of(pod): pod for pod in pods}
    condemned = sorted((ordinal for ordinal in members if ordinal not in wanted), reverse=True)
    if draft.keep_all(wanted, members) and draft.condemn_all(wanted, members, condemned):
        draft.update(wanted, members)
    return draft.plan


def is_ordered(stateful_set: Object) -> bool:
    """Tell whether pods come and go one after the other."""
    return bool(stateful_set["spec"].get("podManagementPolicy") != "Parallel")


@dataclass(slots=True)
class _Draft:
    """A plan in the making. Its steps return whether the next one may be taken."""

    stateful_set: Object
    revisions: Revisions
    find_claim: FindClaim
    now: float
    create: list[Birth] = field(default_factory=list)
    furnish: list[Birth] = field(default_factory=list)
    reown: list[Object] = field(default_factory=list)
    correct: list[Object] = field(default_factory=list)
    delete: dict[str, Object] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        return Plan(
            tuple(self.create),
            tuple(self.furnish),
            tuple(self.reown),
            tuple(self.correct),
            tuple(self.delete.values()),
        )

    def keep_all(self, wanted: range, members: Mapping[int, Object]) -> bool:
        """See to each pod that is wanted; where the set is ordered, up to the first that is to be waited for."""
        for ordinal in wanted:
            may_go_on = self._keep(ordinal, members.get(ordinal))
            if (not may_go_on and is_ordered(self.stateful_set)) or len(self.create) == MOST_AT_ONCE:
                return False
        return True

    def _keep(self, ordinal: int, pod: Object | None) -> bool:
        if pod is None:
            self._bear(ordinal)
            return False
        if is_terminated(pod):
            self._delete(pod)
            return False
        if phase(pod) == "Pending":
            self._furnish(ordinal, pod)
        if self._is_unavailable(pod) and is_ordered(self.stateful_set):
            return False
        corrected = identity.corrected(self.stateful_set, pod, ordinal)
        if corrected is not pod:
            self.correct.append(corrected)
        self._reown(ordinal, pod, is_wanted=True)
        return True

    def _bear(self, ordinal: int) -> None:
        pod = identity.make_pod(self.stateful_set, self._revision_for(ordinal), ordinal)
        claims, refusal = self._missing_claims(ordinal)
        names = identity.claim_names(self.stateful_set, ordinal).values()
        there = [claim for name in names if (claim := self.find_claim(name)) is not None]
        if any(retention.is_stale(self.stateful_set, meta.name(pod), claim) for claim in there):
            return
        conflicts = (c for c in there if retention.has_other_controller(self.stateful_set, pod, c))
        self.create.append(Birth(pod, claims, refusal, tuple(map(meta.name, conflicts))))

    def _furnish(self, ordinal: int, pod: Object) -> None:
        claims, refusal = self._missing_claims(ordinal)
        if claims or refusal:
            self.furnish.append(Birth(pod, claims, refusal))

    def _missing_claims(self, ordinal: int) -> tuple[tuple[Object, ...], str]:
        missing = []
        for claim in identity.make_claims(self.stateful_set, ordinal):
            found = self.find_claim(meta.name(claim))
            if found is None:
                owners = retention.first_owners(self.stateful_set)
                metadata = {**claim["metadata"], **({"ownerReferences": owners} if owners else {})}
                missing.append({**claim, "metadata": metadata})
            elif meta.is_deleting(found):
                return (), f"pvc {meta.name(claim)} is being deleted"
        return tuple(missing), ""

    def _revision_for(self, ordinal: int) -> Object:
        """Return what a pod that is made now is made of: ordinals below the partition stay where they are."""
        spec = self.stateful_set["spec"]
        strategy = spec.get("updateStrategy") or {}
        first = identity.ordinals(self.stateful_set).start
        rolling = strategy.get("rollingUpdate")
        if rolling is not None:
            kept = int(rolling.get("partition") or 0)
        elif strategy.get("type") == "RollingUpdate":
            kept = int((self.stateful_set.get("status") or {}).get("currentReplicas") or 0)
        else:
            kept = 0
        return self.revisions.current if ordinal < first + kept else self.revisions.update

    def _reown(self, ordinal: int, pod: Object, *, is_wanted: bool) -> None:
        for name in identity.claim_names(self.stateful_set, ordinal).values():
            claim = self.find_claim(name)
            if claim is None:
                continue
            owned = retention.with_owners(self.stateful_set, pod, claim, is_wanted)
            if owned is not claim:
                self.reown.append(owned)

    def condemn_all(self, wanted: range, members: Mapping[int, Object], condemned: Sequence[int]) -> bool:
        """Delete what is to be scaled away, the highest ordinal first; one at a time where the set is ordered."""
        for ordinal in condemned:
            self._reown(ordinal, members[ordinal], is_wanted=False)
        if condemned and is_ordered(self.stateful_set):
            highest = members[condemned[0]]
            if self._may_go(highest) or highest is self._first_unavailable(wanted, members, condemned):
                self._delete(highest)
            return False
        for ordinal in condemned:
            self._delete(members[ordinal])
        return True

    def _may_go(self, pod: Object) -> bool:
        """Tell whether the highest pod need not be waited for. Upstream waits for ever for one that has ended."""
        return is_terminated(pod) or not self._is_unavailable(pod)

    def _first_unavailable(
        self, wanted: range, members: Mapping[int, Object], condemned: Sequence[int]
    ) -> Object | None:
        for ordinal in (*wanted, *reversed(condemned)):
            if ordinal in members and self._is_unavailable(members[ordinal]):
                return members[ordinal]
        return None

    def update(self, wanted: range, members: Mapping[int, Object]) -> None:
        """Delete the outdated pod with the highest ordinal, once all above it are available again."""
        strategy = self.stateful_set["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        for ordinal in reversed(wanted[partition:]):
            pod = members.get(ordinal)
            if pod is None:
                return
            if revision_name(pod) != meta.name(self.revisions.update) and not meta.is_deleting(pod):
                self._delete(pod)
                return
            if self._is_unavailable(pod):
                return

    def _delete(self, pod: Object) -> None:
        if not meta.is_deleting(pod):
            self.delete[meta.uid(pod)] = pod

    def _is_unavailable(self, pod: Object) -> bool:
        minimum = int(self.stateful_set["spec"].get("minReadySeconds") or 0)
        return meta.is_deleting(pod) or not is_available(pod, minimum, self.now)
