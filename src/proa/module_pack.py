"""Import this package's modules from one file: of a start's six hundred imports a fifth is finding and reading them.

The file is beside the package's own byte code and is made of it, by the server once it is ready: `keep` writes it when
it lacks a module that the start needed, or has one whose source has changed since. `use` has imports look there first;
each module's source is looked at as Python does (time and size), and what does not fit is imported as ever. Where byte
code is not to be written, or cannot be, there is no such file. Standard library only: this is what comes first.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source
from types import CodeType, ModuleType
from typing import NamedTuple

PACKAGE = "proa"
PYC_HEADER_BYTES = 16
_HEADER = b"PROAPACK2" + MAGIC_NUMBER


class Packed(NamedTuple):
    """A module: its source, when that was changed and how long it was then, whether it is a package, and its code.

    `cached` is its own byte code's file.
    """

    source: str
    cached: str
    mtime_ns: int
    size: int
    is_package: bool
    code: bytes

    def is_fresh(self) -> bool:
        """Tell whether the source is still what the code was made of."""
        try:
            stat = os.stat(self.source)
        except OSError:
            return False
        return (stat.st_mtime_ns, stat.st_size) == (self.mtime_ns, self.size)


class _Loader(SourceFileLoader):
    """Loads what was packed; everything else about a module is as it would be without."""

    def __init__(self, name: str, packed: Packed) -> None:
        super().__init__(name, packed.source)
        self._packed: bytes | None = packed.code

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module's code, from the pack the first time."""
        packed, self._packed = self._packed, None
        if packed is None:
            return super().get_code(fullname)
        code: CodeType = marshal.loads(packed)  # noqa: S302 - as trusted as the byte code beside it
        return code


class Pack:
    """The packed modules; a finder of `sys.meta_path`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.modules = _read(path)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module that is packed and fresh."""
        packed = self.modules.get(name)
        if packed is None or not packed.is_fresh():
            return None
        spec = ModuleSpec(name, _Loader(name, packed), origin=packed.source, is_package=packed.is_package)
        spec.has_location, spec.cached = True, packed.cached
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(packed.source))
        return spec

    def keep(self) -> bool:
        """Write the pack, if what is imported by now is not all in it as it is; return whether it was written."""
        modules = {name: packed for name, packed in self.modules.items() if packed.is_fresh()}
        missing = [name for name in _imported() if name not in modules]
        if not missing:
            return False
        for name in missing:
            if (packed := _pack(sys.modules[name])) is not None:
                modules[name] = packed
        _write(self.path, modules)
        return True


def use() -> Pack | None:
    """Have imports look in the pack first; return it, None where there is to be none."""
    package = sys.modules[PACKAGE].__file__
    if sys.dont_write_bytecode or sys.pycache_prefix or not package or not os.path.isfile(package):
        return None
    pack = Pack(cache_from_source(package).replace("__init__", "modules").removesuffix(".pyc") + ".pack")
    sys.meta_path.insert(0, pack)
    return pack


def _imported() -> list[str]:
    return [name for name in [*sys.modules] if name == PACKAGE or name.startswith(f"{PACKAGE}.")]


def _pack(module: ModuleType) -> Packed | None:
    """Return a module as it can be packed, of its byte code; None where it has none that fits."""
    spec = module.__spec__
    if spec is None or not spec.origin or not spec.origin.endswith(".py") or not spec.cached:
        return None
    try:
        stat = os.stat(spec.origin)
        with open(spec.cached, "rb") as file:
            header, code = file.read(PYC_HEADER_BYTES), file.read()
    except OSError:
        return None
    seconds, size = int.from_bytes(header[8:12], "little"), int.from_bytes(header[12:], "little")
    made_of = (int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF)
    if header[:4] != MAGIC_NUMBER or any(header[4:8]) or (seconds, size) != made_of:
        return None
    is_package = spec.submodule_search_locations is not None
    return Packed(spec.origin, spec.cached, stat.st_mtime_ns, stat.st_size, is_package, code)


def _read(path: str) -> dict[str, Packed]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    start = len(_HEADER) + 4
    checksum = int.from_bytes(data[len(_HEADER) : start], "little")
    body = memoryview(data)[start:]
    if not data.startswith(_HEADER) or zlib.crc32(body) != checksum:
        return {}
    found: dict[str, tuple[str, str, int, int, bool, bytes]] = marshal.loads(body)  # noqa: S302 - see _Loader
    return {name: Packed(*packed) for name, packed in found.items()}


def _write(path: str, modules: dict[str, Packed]) -> None:
    """Put a new pack in the place of the old one, whole or not at all; nothing where that cannot be."""
    body = marshal.dumps({name: tuple(packed) for name, packed in modules.items()})
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(_HEADER + zlib.crc32(body).to_bytes(4, "little") + body)
        os.replace(temporary, path)
    except OSError:
        return
