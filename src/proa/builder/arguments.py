"""Say which variables an instruction sees: build arguments, what the platform is called, and the image's environment.

Before the first FROM: ARGs there and the platform's. In a stage: what it has named by ARG, then ENV, which wins.
Proxies need no ARG. As the Dockerfile reference says ("ARG", "Automatic platform ARGs").
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.instructions import Arg
from proa.builder.dockerfile.words import WordError, Words

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED = frozenset({*_PROXIES, *(name.lower() for name in _PROXIES), "SOURCE_DATE_EPOCH"})


class Arguments:
    """The build's arguments: `given` on the command line, those before the first FROM, and which were used."""

    def __init__(self, given: Mapping[str, str], platform: str, build_platform: str, target: str) -> None:
        self._given = given
        self._platforms = {
            **_platform_names("TARGET", platform),
            **_platform_names("BUILD", build_platform),
            "TARGETSTAGE": target or "default",
        }
        self._before: dict[str, str] = {}
        self._used: set[str] = set()

    def name_before_stages(self, arg: Arg, escape: str) -> None:
        """Take an ARG that stands before the first FROM."""
        for name, default in arg.pairs:
            self._used.add(name)
            if name in self._given:
                self._before[name] = self._given[name]
            elif default is not None:
                self._before[name] = expand(default, self.before_stages(), escape, arg.line)

    def before_stages(self) -> dict[str, str]:
        """Return what FROM sees."""
        return {**self._platforms, **self._before}

    def value(self, name: str, default: str | None) -> str | None:
        """Return what a stage's ARG means; `default` has its variables replaced already."""
        self._used.add(name)
        if name in self._given:
            return self._given[name]
        if default is not None:
            return default
        return self._before.get(name, self._platforms.get(name))

    def proxies(self) -> dict[str, str]:
        """Return what steps get without ARG, and what no layer depends on."""
        return {name: value for name, value in self._given.items() if name in PREDEFINED}

    def unused(self) -> list[str]:
        """Return what was given and no ARG has named."""
        return sorted(set(self._given) - self._used - PREDEFINED)


def _platform_names(prefix: str, platform: str) -> dict[str, str]:
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    return {
        f"{prefix}PLATFORM": platform,
        f"{prefix}OS": system,
        f"{prefix}ARCH": architecture,
        f"{prefix}VARIANT": variant,
    }


def expand(text: str, variables: Mapping[str, str], escape: str, line: int, *, quotes: bool = True) -> str:
    """Return the text with its variables replaced; raise DockerfileError."""
    try:
        return Words(variables, escape, quotes=quotes).expand(text)
    except WordError as error:
        raise DockerfileError(line, f"failed to process {text!r}: {error}") from None


def expand_words(text: str, variables: Mapping[str, str], escape: str, line: int) -> list[str]:
    """Return the text's words with variables replaced; raise DockerfileError."""
    try:
        return Words(variables, escape).split(text)
    except WordError as error:
        raise DockerfileError(line, f"failed to process {text!r}: {error}") from None
