"""Tell each node for how long it may keep what it has read, the longer the more nodes there are.

The annotation node.alpha.kubernetes.io/ttl is in seconds; the sizes at which it changes overlap, so that a cluster
at a boundary does not go to and fro. Watches and writes nodes. Follows upstream's pkg/controller/ttl/ttl_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import NODES
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

ANNOTATION = "node.alpha.kubernetes.io/ttl"


class Step(NamedTuple):
    """Holds from `least` to `most` nodes."""

    least: int
    most: int
    seconds: int


STEPS = (
    Step(0, 100, 0),
    Step(90, 500, 15),
    Step(450, 1000, 30),
    Step(900, 2000, 60),
    Step(1800, 2**31 - 1, 300),
)


def next_step(step: int, nodes: int) -> int:
    """Return the step after `step` for so many nodes: the same one for as long as it fits."""
    while nodes > STEPS[step].most:
        step += 1
    while nodes < STEPS[step].least:
        step -= 1
    return step


def _is_same(old: Object, new: Object) -> bool:
    return meta.annotations(old).get(ANNOTATION) == meta.annotations(new).get(ANNOTATION)


class NodeTtl:
    """`reconcile.protocol.Controller`; remembers the step that it is at."""

    NAME = "ttl"

    def __init__(self) -> None:
        self._step = 0
        self.WATCHES: Sequence[Watch] = (Watch(NODES, find_keys=self._keys, ignores=_is_same),)

    def _keys(self, node: Object, caches: Caches) -> Iterable[Key]:
        """Name the node that has changed, or all when it takes the cluster to another step."""
        nodes = caches(NODES).list()
        before, self._step = self._step, next_step(self._step, len(nodes))
        return [Key("", meta.name(one)) for one in (nodes if self._step != before else (node,))]

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Write the annotation where it is not as it should be."""
        node, wanted = context.caches(NODES).get(key.name), str(STEPS[self._step].seconds)
        if node is None or meta.annotations(node).get(ANNOTATION) == wanted:
            return DONE
        with suppress(NotFound):
            await context.client.patch(NODES, key.name, {"metadata": {"annotations": {ANNOTATION: wanted}}})
        return DONE
