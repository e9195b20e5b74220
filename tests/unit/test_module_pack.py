"""Modules come from one file where that has them as they are, and from their own files otherwise."""

from __future__ import annotations

import importlib
import os
import py_compile
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from proa import module_pack
from proa.module_pack import Pack

RARE = ("proa.objects.cel", "proa.objects.structural.rules", "proa.webhooks", "yaml", "wsproto", "ctypes")
"""What a start without custom resources, policies, webhooks and devices does not need."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `packed_sample` with a module `one`, which imports take from the pack."""
    folder = tmp_path / "packed_sample"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("VALUE = 1\n")
    for source in folder.glob("*.py"):
        py_compile.compile(str(source))
    monkeypatch.setattr(module_pack, "PACKAGE", "packed_sample")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("packed_sample")
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("packed_sample")]:
        del sys.modules[name]


def imported() -> ModuleType:
    """Import the module anew, as the next process would."""
    forget()
    importlib.import_module("packed_sample")
    return importlib.import_module("packed_sample.one")


def make_pack() -> Pack:
    pack = module_pack.use()
    assert pack is not None
    return pack


def test_what_was_imported_is_imported_from_the_pack_the_next_time(package: Path) -> None:
    first = make_pack()
    imported()
    assert first.keep()
    second = make_pack()
    (package / "__pycache__" / f"one.{sys.implementation.cache_tag}.pyc").write_bytes(b"damaged")
    module = imported()
    assert module.VALUE == 1
    assert module.__file__ == str(package / "one.py")
    assert isinstance(module.__spec__.loader, module_pack._Loader)
    assert not second.keep()


def test_a_source_that_has_changed_is_read(package: Path) -> None:
    first = make_pack()
    imported()
    first.keep()
    source = package / "one.py"
    source.write_text("VALUE = 2\n")
    os.utime(source, ns=(1, 1))
    second = make_pack()
    assert imported().VALUE == 2
    assert second.keep()
    third = make_pack()
    assert third.modules["packed_sample.one"].mtime_ns == 1


DAMAGE = (lambda data: data[:-1], lambda data: data[:40] + b"!" + data[41:], lambda data: b"")


@pytest.mark.parametrize("damage", DAMAGE, ids=["cut", "changed", "empty"])
def test_a_damaged_pack_is_no_pack(package: Path, damage: Callable[[bytes], bytes]) -> None:
    first = make_pack()
    imported()
    first.keep()
    path = Path(first.path)
    path.write_bytes(damage(path.read_bytes()))
    assert make_pack().modules == {}
    assert imported().VALUE == 1


def test_where_no_byte_code_is_written_there_is_no_pack(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert module_pack.use() is None


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_time(package: Path) -> None:
    pack = make_pack()
    imported()
    pack.path = str(package / "missing" / "modules.pack")
    assert pack.keep()
    assert list(package.glob("*.pack*")) == []


def test_a_start_imports_nothing_rare() -> None:
    program = (
        "import importlib, sys, proa.server\n"
        "from proa.cluster import COMPONENTS\n"
        "for name in COMPONENTS: importlib.import_module(name)\n"
        f"print([name for name in sys.modules if name.startswith({RARE!r})])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
