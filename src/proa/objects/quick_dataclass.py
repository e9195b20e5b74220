"""Define a dataclass with slots as the standard library's `dataclass` does, in a third of the time.

Python before 3.13 compiles up to six functions for each dataclass, one by one: a millisecond a class, which for a
hundred classes was a quarter of the time that a cluster takes to start. Here only `__init__` is compiled, when the
first object is made; what is rarely called is a closure over the fields' names. Everything else is the standard
library's own, so `fields`, `replace`, `asdict`, `field(default_factory=...)`, copying, pickling and matching work.
Import `dataclass` from here in what every start imports; options that are not offered here are the standard library's.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from typing import TYPE_CHECKING, Any, TypeVar

_Class = TypeVar("_Class", bound=type)

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool = False, slots: bool, eq: bool = True) -> Callable[[_Class], _Class]:
        """Return a decorator; see `dataclasses.dataclass` for the options."""

        def decorate(cls: _Class) -> _Class:
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
            for name, method in _make_methods(made, frozen=frozen, eq=eq).items():
                if cls.__dict__.get(name) is None:
                    setattr(made, name, method)
            return made

        return decorate


def _make_methods(made: Any, *, frozen: bool, eq: bool) -> dict[str, Any]:
    own = fields(made)
    if any(f.kw_only or not (f.init and f.repr and f.compare) for f in own) or hasattr(made, "__post_init__"):
        raise TypeError(f"{made.__qualname__} needs the standard library's dataclass")
    names = [f.name for f in own]
    values = _make_getter(names)
    methods: dict[str, Any] = {
        "__init__": _make_first_init(made, own, frozen=frozen),
        "__repr__": _make_repr(names),
        "__getstate__": values,
        "__setstate__": _make_restore(names),
    }
    if eq:
        methods |= {"__eq__": _make_eq(values), "__hash__": None}
    if frozen:
        methods |= {"__setattr__": _refuse_set, "__delattr__": _refuse_delete}
        if eq:
            methods["__hash__"] = lambda self: hash(values(self))
    return methods


def _make_first_init(made: Any, own: tuple[Field[Any], ...], *, frozen: bool) -> Callable[..., None]:
    """Return an `__init__` that puts the compiled one in its place: many a class has no object in a whole day."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if made.__init__ is init:
            made.__init__ = _make_init(own, frozen=frozen)
        made.__init__(self, *args, **kwargs)

    return init


def _make_init(own: tuple[Field[Any], ...], *, frozen: bool) -> Callable[..., None]:
    """Compile `__init__`: objects are made far more often than classes."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    parameters, body = ["self"], []
    for f in own:
        value = f.name
        if f.default_factory is not MISSING:
            names[f"_make_{f.name}"] = f.default_factory
            parameters.append(f"{f.name}=_missing")
            value = f"_make_{f.name}() if {f.name} is _missing else {f.name}"
        elif f.default is not MISSING:
            names[f"_default_{f.name}"] = f.default
            parameters.append(f"{f.name}=_default_{f.name}")
        else:
            parameters.append(f.name)
        body.append(f" _set(self, {f.name!r}, {value})" if frozen else f" self.{f.name} = {value}")
    exec(f"def __init__({', '.join(parameters)}):\n" + ("\n".join(body) or " pass"), names)  # noqa: S102
    init: Callable[..., None] = names["__init__"]
    return init


def _make_getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what gives an object's values."""
    if len(names) > 1:
        get = operator.attrgetter(*names)
        return lambda self: get(self)  # a function, so that it binds as a method
    return lambda self: tuple([getattr(self, name) for name in names])


def _make_repr(names: list[str]) -> Callable[[Any], str]:
    def represent(self: Any) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{type(self).__qualname__}({shown})"

    return represent


def _make_eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], Any]:
    def equals(self: Any, other: object) -> Any:
        if other is self:
            return True
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return equals


def _make_restore(names: list[str]) -> Callable[[Any, tuple[Any, ...]], None]:
    def restore(self: Any, state: tuple[Any, ...]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return restore


def _refuse_set(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
