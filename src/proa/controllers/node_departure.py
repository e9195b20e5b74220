"""Remove the nodes that ask for it: a node may not delete itself, and `proa leave` is to leave none behind.

Only a node that has joined from another machine can ask, by an annotation of its own (NodeRestriction keeps others
from it). Watches and deletes nodes; their pods are the pod garbage collector's.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound
from proa.objects.resource import NODES
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "node-departure"
ACCOUNT = "node-controller"
LEFT_ANNOTATION = "proa.local/left"
JOINED_ANNOTATION = "proa.local/overlay"


def has_left(node: Object | None) -> bool:
    """Tell whether a node asks to be removed."""
    return node is not None and {LEFT_ANNOTATION, JOINED_ANNOTATION} <= meta.annotations(node).keys()


WATCHES = (Watch(NODES, ignores=lambda old, new: has_left(old) == has_left(new)),)


async def reconcile(context: Context, key: Key) -> Result:
    """Delete the node `key.name` where it has left."""
    node = context.caches(NODES).get(key.name)
    if node is None or not has_left(node):
        return DONE
    try:
        await context.client.delete(NODES, key.name, uid=meta.uid(node))
    except (Conflict, NotFound):
        return DONE
    return DONE
