"""The environment of `proa.local/python` beyond PATH: where packages are found and installed, and pip's settings.

This machine's pip settings (its index and mirrors: environment, or the user's pip.conf, which is in a home folder and
so not seen inside) count in containers too. An address with a password in it is left out: whoever may run a pod could
read it. Such an index is for a Secret and PIP_INDEX_URL in the pod.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

TARGET = "/tmp/.python-packages"  # noqa: S108  # a container's own
"""Where pip installs in a container, since the environment itself is read-only there."""

_FOLDER = os.path.dirname(os.path.abspath(__file__))
SITE, BIN = os.path.join(_FOLDER, "site"), os.path.join(_FOLDER, "bin")

_SETTINGS = (
    "index-url",
    "extra-index-url",
    "trusted-host",
    "find-links",
    "no-index",
    "cert",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
)
_SECTIONS = ("global", "install")


def make_environment(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables; `environ` is the server's own environment."""
    found = {
        "PYTHONPATH": f"{TARGET}:{SITE}",
        "PROA_PIP_TARGET": TARGET,
        "PROA_PYTHON_SITE": _site_packages(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    for name, value in _read_settings(environ):
        if not _has_password(value):
            found["PIP_" + name.upper().replace("-", "_")] = value
    return tuple(found.items())


def _site_packages() -> str:
    """Return where the packages of the interpreter that runs Proa are."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return next((folder for folder in sys.path if folder.endswith(f"/{version}/site-packages")), "")


def make_path(path: str) -> str:
    """Return a container's PATH: scripts of what it installs itself come first, then the quick pip."""
    return f"{TARGET}/bin:{BIN}:{path}"


def _read_settings(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield pip's settings by their long names; those of the environment last, for they count more."""
    for file in _user_files(environ):
        yield from _read_file(file)
    for name in _SETTINGS:
        if value := environ.get("PIP_" + name.upper().replace("-", "_")):
            yield name, value


def _user_files(environ: Mapping[str, str]) -> list[str]:
    """Return the files that only the user has: those of the machine and of the environment are seen inside."""
    if environ.get("PIP_CONFIG_FILE"):
        return [environ["PIP_CONFIG_FILE"]]
    home = environ.get("HOME", "")
    if not home:
        return []
    configured = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    return [f"{home}/.pip/pip.conf", f"{configured}/pip/pip.conf"]


def _read_file(file: str) -> Iterator[tuple[str, str]]:
    if not os.path.isfile(file):
        return
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return  # pip itself says what is wrong with it
    for section in _SECTIONS:
        if parser.has_section(section):
            for name, value in parser.items(section):
                if name.replace("_", "-") in _SETTINGS and value:
                    yield name.replace("_", "-"), " ".join(value.split())


def _has_password(value: str) -> bool:
    """Tell whether one of the addresses in a setting has a user or a password in it."""
    return any("@" in word.partition("//")[2].partition("/")[0] for word in value.split())
