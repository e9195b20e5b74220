"""Put a write through both phases of admission: first those that may change it, then those that only look.

Follows apiserver/pkg/admission/chain.go and reinvocation.go; which plugins there are is in `apiserver/admission/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from proa.apiserver.registry.attributes import Admission, Attributes
from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Face:
    """How a write shows to admission that goes through a subresource with a kind of its own (Scale)."""

    subresource: str
    show: Callable[[Object], Object]
    """Returns the subresource's object of a whole one."""
    put: Callable[[Object, Object], None]
    """Brings (a whole object) to what (the subresource's object) says."""


async def validate(phase: Sequence[Admission], attributes: Attributes) -> None:
    """Ask each plugin of a phase, in order; what they raise refuses the write."""
    for ask in phase:
        waiting = ask(attributes)
        if waiting is not None:
            await waiting


async def mutate(phase: Sequence[Admission], attributes: Attributes) -> None:
    """Ask each plugin that may change the object, and all of them again where a change asks for it."""
    await validate(phase, attributes)
    again = attributes.reinvocation
    if again is not None and again.needed:
        again.is_second = True
        await validate(phase, attributes)


async def mutate_update(phase: Sequence[Admission], attributes: Attributes, face: Face | None) -> None:
    """Let admission change the new object, or the one that shows for it."""
    if face is None:
        await mutate(phase, attributes)
        return
    seen = _shown(attributes, face)
    await mutate(phase, seen)
    if seen.reinvocation is not None and seen.reinvocation.needed:
        assert attributes.obj is not None
        assert seen.obj is not None
        face.put(attributes.obj, seen.obj)


async def validate_update(phase: Sequence[Admission], attributes: Attributes, face: Face | None) -> None:
    """Let admission look at the new object, or at the one that shows for it."""
    await validate(phase, attributes if face is None else _shown(attributes, face))


def _shown(attributes: Attributes, face: Face) -> Attributes:
    assert attributes.obj is not None
    assert attributes.old is not None
    obj, old = face.show(attributes.obj), face.show(attributes.old)
    return replace(attributes, subresource=face.subresource, obj=obj, old=old)
