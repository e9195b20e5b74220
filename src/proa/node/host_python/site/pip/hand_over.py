"""Let the real pip work; where the environment is read-only, install into a folder that is on the path before it.

pip's own `--target` installs all dependencies anew, whether they are there or not. So pip is asked first what is
missing (`--dry-run --report`), and then given exactly that. What it downloads and builds it keeps in its own cache
(PIP_CACHE_DIR), so that the second time nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from typing import Any

from . import REAL

_ELSEWHERE = (
    "-t",
    "--target",
    "--prefix",
    "--root",
    "--dry-run",
    "-e",
    "--editable",
    "-h",
    "--help",
    "--python",
)
_OWN = frozenset({"-U", "--upgrade", "--user", "-I", "--ignore-installed", "--force-reinstall", "--no-deps"})
_WITH_VALUE = frozenset({"-r", "--requirement", "-c", "--constraint"})
_KEPT_WITH_VALUE = frozenset(
    {
        "-i", "--index-url", "--extra-index-url", "--trusted-host", "-f", "--find-links", "--timeout", "--retries",
        "--cert", "--proxy", "--progress-bar", "--only-binary", "--no-binary", "--cache-dir", "--client-cert",
        "--root-user-action", "--keyring-provider", "--log",
    }
)  # fmt: skip


def run(arguments: list[str], target: str) -> int:
    """Carry a command out with the real pip; `target` is where to install when the environment is read-only."""
    if not REAL:
        print(
            f"proa: {sys.prefix} has no pip, and Python brings none along (ensurepip). Install what the step needs"
            " into that environment, or give the step an image of its own",
            file=sys.stderr,
        )
        return 1
    if arguments[:1] == ["install"] and target and not _is_elsewhere(arguments[1:]) and not _is_writable():
        return _install_into(target, arguments[1:])
    return _pip(arguments)


def _pip(arguments: list[str]) -> int:
    from pip._internal.cli.main import main

    return int(main(arguments) or 0)


def _is_elsewhere(arguments: Sequence[str]) -> bool:
    return any(word.partition("=")[0] in _ELSEWHERE for word in arguments)


def _is_writable() -> bool:
    return os.access(sysconfig.get_path("purelib"), os.W_OK)


def _install_into(target: str, arguments: list[str]) -> int:
    descriptor, report = tempfile.mkstemp(prefix="pip-report-", suffix=".json")
    os.close(descriptor)
    try:
        without_user = [word for word in arguments if word != "--user"]
        if code := _pip(["install", "--dry-run", "--quiet", "--report", report, *without_user]):
            return code
        with open(report, encoding="utf-8") as file:
            missing = [_pin(item) for item in json.load(file)["install"]]
    finally:
        os.unlink(report)
    if not missing:
        return 0
    os.makedirs(target, exist_ok=True)
    into = ["--no-deps", "--upgrade", "--target", target, "--no-warn-script-location"]
    return _pip(["install", *into, *_kept_options(arguments), *missing])


def _pin(item: dict[str, Any]) -> str:
    """Return the requirement that stands for exactly what pip has chosen (the installation report, version 1)."""
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    if not item.get("is_direct"):
        return f"{name}=={version}"
    found = item["download_info"]
    url = found["url"]
    if source := found.get("vcs_info"):
        url = f"{source['vcs']}+{url}@{source['commit_id']}"
    if folder := found.get("subdirectory"):
        url += f"#subdirectory={folder}"
    return f"{name} @ {url}"


def _kept_options(arguments: Sequence[str]) -> list[str]:
    """Return the options that say from where and how, not what or where to."""
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name = word.partition("=")[0]
        if word in _WITH_VALUE:
            next(rest, "")
        elif word in _KEPT_WITH_VALUE:
            kept += [word, next(rest, "")]
        elif word.startswith("-") and name not in _OWN and name not in _WITH_VALUE:
            kept.append(word)
    return kept
