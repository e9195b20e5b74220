"""Judge a pod spec once, however many pods are made of one template.

What rules say of a spec depends on its JSON and on the arguments that stand beside it, and on nothing else: no clock,
no other object, no metadata. So it is enough to know by exactly these that there was nothing to say; a rule with
something to say is asked each time. Nothing that is kept can be another's, or grow old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar

import orjson

from proa.client.protocol import Object

T = TypeVar("T")
SPECS = 512
MAX_BYTES = 8 * 1024
"""A longer spec is judged each time, so that what is kept stays below 4 MiB a rule."""


class _Remarks(Exception):
    """There is something to say; what is raised is not kept."""


def once_a_spec(judge: Callable[..., Iterable[T]]) -> Callable[..., list[T]]:
    """Return `judge(spec, *arguments)`, whose arguments are hashable, that knows specs with nothing to say of."""

    @lru_cache(maxsize=SPECS)
    def pass_over(spec: bytes, *arguments: Any) -> None:
        said = list(judge(orjson.loads(spec), *arguments))
        if said:
            raise _Remarks(said)

    def ask(spec: Object, *arguments: Any) -> list[T]:
        try:
            data = orjson.dumps(spec)
        except orjson.JSONEncodeError:  # it will not be stored; what it breaks is said first
            return list(judge(spec, *arguments))
        if len(data) > MAX_BYTES:
            return list(judge(spec, *arguments))
        try:
            pass_over(data, *arguments)
        except _Remarks as remarks:
            said: list[T] = remarks.args[0]
            return said
        return []

    return ask
