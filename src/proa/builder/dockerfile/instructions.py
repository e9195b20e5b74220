"""Say what each statement of a Dockerfile asks for: one record an instruction, its flags checked by name.

Rules and words follow BuildKit's frontend/dockerfile/instructions/parse.go. Variables are still in place: a build
knows them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proa.builder.dockerfile.errors import DockerfileError, did_you_mean
from proa.builder.dockerfile.lines import Heredoc, Statement, as_json, parse_heredoc
from proa.builder.dockerfile.mounts import Mount, parse_mount

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """What every instruction has: where it stands, and its words as written."""

    statement: Statement

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.statement.line


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """FROM: what a stage begins with, and the stage's own name."""

    image: str
    stage: str
    platform: str


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """ARG: names with their defaults, None where there is none."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Pairs(Instruction):
    """ENV and LABEL: names and values."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """COPY and ADD. `heredocs` are sources too, each at its place in `sources` as `<<NAME`."""

    sources: tuple[str, ...]
    target: str
    heredocs: tuple[Heredoc, ...]
    source_stage: str = ""
    owner: str = ""
    mode: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    unpack: bool | None = None

    @property
    def is_add(self) -> bool:
        """Whether it is ADD, which unpacks and downloads."""
        return self.statement.keyword == "ADD"


@dataclass(frozen=True, slots=True)
class Command(Instruction):
    """CMD, ENTRYPOINT, RUN and SHELL: words, or one text for the stage's shell."""

    words: tuple[str, ...]
    is_shell: bool


@dataclass(frozen=True, slots=True)
class Run(Command):
    """RUN, with what is mounted for it alone."""

    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Text(Instruction):
    """USER, WORKDIR, STOPSIGNAL and MAINTAINER: one value."""

    value: str


@dataclass(frozen=True, slots=True)
class Listed(Instruction):
    """EXPOSE and VOLUME: several values."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """HEALTHCHECK, as the image's configuration has it."""

    check: dict[str, object] = field(hash=False)


@dataclass(frozen=True, slots=True)
class OnBuild(Instruction):
    """ONBUILD: what a build on top of this image does first."""

    text: str


_FLAGS: dict[str, tuple[str, ...]] = {
    "FROM": ("platform",),
    "RUN": ("mount", "network", "security"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "ADD": ("chown", "chmod", "link", "checksum", "keep-git-dir", "unpack", "exclude"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}
_KEYWORDS = ("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
             "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")  # fmt: skip
_REPEATED = ("mount", "exclude")


def read(statement: Statement, escape: str) -> Instruction:
    """Return what the statement asks for; raise DockerfileError."""
    keyword = statement.keyword
    if keyword not in _KEYWORDS:
        known = did_you_mean(keyword, list(_KEYWORDS))
        raise DockerfileError(statement.line, f"unknown instruction: {keyword}{known}")
    flags = _check_flags(statement)
    if not statement.rest:
        raise DockerfileError(statement.line, f"{keyword} requires at least one argument")
    match keyword:
        case "FROM":
            return _read_from(statement, flags)
        case "ARG":
            return Arg(statement, tuple(_arg_pair(statement, word) for word in words(statement.rest, escape)))
        case "ENV" | "LABEL":
            return Pairs(statement, _name_values(statement, escape))
        case "COPY" | "ADD":
            return _read_copy(statement, flags)
        case "RUN":
            return _read_run(statement, flags)
        case "CMD" | "ENTRYPOINT":
            found = statement.json
            return Command(statement, (statement.rest,) if found is None else found, found is None)
        case "SHELL":
            if not statement.json:
                raise DockerfileError(statement.line, "SHELL requires the arguments to be in JSON form")
            return Command(statement, statement.json, is_shell=False)
        case "EXPOSE" | "VOLUME":
            values = tuple(statement.rest.split()) if statement.json is None else statement.json
            if not values or any(not value.strip() for value in values):
                raise DockerfileError(statement.line, f"{keyword} specified can not be an empty string")
            return Listed(statement, values)
        case "HEALTHCHECK":
            return Healthcheck(statement, _read_check(statement, flags))
        case "ONBUILD":
            return _read_onbuild(statement)
    return Text(statement, statement.rest)


def _check_flags(statement: Statement) -> dict[str, list[str | None]]:
    known = _FLAGS.get(statement.keyword, ())
    found: dict[str, list[str | None]] = {}
    for name, value in statement.flags:
        if name not in known:
            has = ", ".join(f"--{flag}" for flag in known) or "no flags"
            near = did_you_mean(name, list(known))
            raise DockerfileError(
                statement.line, f"unknown flag: --{name}{near}; {statement.keyword} has {has}"
            )
        if name in found and name not in _REPEATED:
            raise DockerfileError(statement.line, f"duplicate flag specified: --{name}")
        found.setdefault(name, []).append(value)
    return found


def _text(statement: Statement, flags: dict[str, list[str | None]], name: str) -> str:
    if name not in flags:
        return ""
    value = flags[name][0]
    if not value:
        raise DockerfileError(statement.line, f"missing a value on flag: --{name}")
    return value


def _truth(statement: Statement, flags: dict[str, list[str | None]], name: str) -> bool:
    value = (flags.get(name) or ["false"])[0]
    if value is None or value.lower() == "true":
        return True
    if value.lower() == "false":
        return False
    raise DockerfileError(statement.line, f"expecting boolean value for flag --{name}, not: {value}")


def _read_from(statement: Statement, flags: dict[str, list[str | None]]) -> From:
    arguments = statement.rest.split()
    if len(arguments) != 1 and not (len(arguments) == 3 and arguments[1].upper() == "AS"):
        raise DockerfileError(
            statement.line, "FROM requires either one or three arguments: FROM IMAGE [AS NAME]"
        )
    name = arguments[2].lower() if len(arguments) == 3 else ""
    if name and not re.fullmatch(r"[a-z][a-z0-9._-]*", name):
        words = f'invalid name for build stage: "{arguments[2]}", name can\'t start with a number or contain symbols'
        raise DockerfileError(statement.line, words)
    if name == "scratch" or name == "context":
        raise DockerfileError(statement.line, f'invalid name for build stage: "{name}" is a reserved name')
    return From(statement, arguments[0], name, _text(statement, flags, "platform"))


def _arg_pair(statement: Statement, word: str) -> tuple[str, str | None]:
    name, equals, value = word.partition("=")
    if not name:
        raise DockerfileError(statement.line, "ARG names can not be blank")
    return name, value if equals else None


def words(text: str, escape: str) -> list[str]:
    """Split at blanks that are neither quoted nor escaped; quotes and escapes stay."""
    found: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        character = text[at]
        if character == escape and quote != "'" and at + 1 < len(text):
            word += character
            at += 1
            character = text[at]
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if word:
                found.append(word)
            word, at = "", at + 1
            continue
        word += character
        at += 1
    return [*found, word] if word else found


def _name_values(statement: Statement, escape: str) -> tuple[tuple[str, str], ...]:
    found = words(statement.rest, escape)
    if "=" not in found[0]:
        name, _, value = re.sub(r"\s+", " ", statement.rest, count=1).partition(" ")
        if not value:
            raise DockerfileError(statement.line, f"{statement.keyword} must have two arguments")
        return ((name, value),)
    pairs = []
    for word in found:
        name, equals, value = word.partition("=")
        if not equals:
            words_ = f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            raise DockerfileError(statement.line, words_)
        if not name:
            raise DockerfileError(statement.line, f"{statement.keyword} names can not be blank")
        pairs.append((name, value))
    return tuple(pairs)


def _read_copy(statement: Statement, flags: dict[str, list[str | None]]) -> Copy:
    keyword = statement.keyword
    found = statement.rest.split() if statement.json is None else list(statement.json)
    if len(found) < 2:
        raise DockerfileError(
            statement.line, f"{keyword} requires at least two arguments: sources and a target"
        )
    target = found[-1]
    if parse_heredoc(target) is not None and statement.heredocs:
        raise DockerfileError(statement.line, f"{keyword} cannot accept a heredoc as a destination")
    if _truth(statement, flags, "keep-git-dir"):
        raise DockerfileError(
            statement.line, "--keep-git-dir: git repositories are not supported as a source"
        )
    for source in found[:-1] if keyword == "ADD" else ():
        if source.startswith(("git@", "git://", "ssh://")) or re.match(r"https?://[^#]*\.git(#|$)", source):
            advice = "clone it in a RUN step, or beside the Dockerfile"
            raise DockerfileError(
                statement.line, f"ADD of a git repository is not supported: {source}; {advice}"
            )
    unpack = _truth(statement, flags, "unpack") if "unpack" in flags else None
    exclude = tuple(value or "" for value in flags.get("exclude", ()))
    return Copy(
        statement,
        tuple(found[:-1]),
        target,
        statement.heredocs,
        source_stage=_text(statement, flags, "from"),
        owner=_text(statement, flags, "chown"),
        mode=_text(statement, flags, "chmod"),
        link=_truth(statement, flags, "link"),
        parents=_truth(statement, flags, "parents"),
        exclude=exclude,
        checksum=_text(statement, flags, "checksum"),
        unpack=unpack,
    )


def _read_run(statement: Statement, flags: dict[str, list[str | None]]) -> Run:
    network = _text(statement, flags, "network") or "default"
    if network not in ("default", "host", "none"):
        raise DockerfileError(
            statement.line, f'unsupported network mode "{network}": default, host and none are supported'
        )
    security = _text(statement, flags, "security")
    if security not in ("", "sandbox"):
        raise DockerfileError(
            statement.line, f"--security={security} is not supported: steps always run in a sandbox"
        )
    mounts = tuple(parse_mount(value or "", statement.line) for value in flags.get("mount", ()))
    shell = statement.json is None
    argv = (statement.rest,) if statement.json is None else statement.json
    return Run(statement, argv, shell, mounts, network, statement.heredocs)


def _read_check(statement: Statement, flags: dict[str, list[str | None]]) -> dict[str, object]:
    kind, _, rest = re.sub(r"\s+", " ", statement.rest, count=1).partition(" ")
    if kind.upper() == "NONE":
        if rest:
            raise DockerfileError(statement.line, "HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD":
        raise DockerfileError(statement.line, f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not rest:
        raise DockerfileError(statement.line, "Missing command after HEALTHCHECK CMD")
    array = as_json(rest, statement.line)
    check: dict[str, object] = {"Test": ["CMD-SHELL", rest] if array is None else ["CMD", *array]}
    for flag, name in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ):
        if text := _text(statement, flags, flag):
            check[name] = nanoseconds(text, statement.line, flag)
    if retries := _text(statement, flags, "retries"):
        if not retries.isdigit():
            raise DockerfileError(
                statement.line, f"--retries must be a number that is not negative, not {retries}"
            )
        if int(retries):
            check["Retries"] = int(retries)
    return check


def nanoseconds(text: str, line: int, flag: str) -> int:
    """Return a Go duration (1m30s, 500ms) in nanoseconds."""
    pieces = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", text)
    if "".join(number + unit for number, unit in pieces) != text or not pieces:
        raise DockerfileError(line, f'--{flag}: invalid duration "{text}"; for example 30s or 1m30s')
    total = round(sum(float(number) * _NANOSECONDS[unit] for number, unit in pieces))
    if 0 < total < 10**6:
        raise DockerfileError(line, f"--{flag} cannot be less than 1ms")
    return total


def _read_onbuild(statement: Statement) -> OnBuild:
    trigger = statement.rest.split()[0].upper()
    if trigger == "ONBUILD":
        raise DockerfileError(statement.line, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise DockerfileError(statement.line, f"{trigger} isn't allowed as an ONBUILD trigger")
    text = statement.rest + "".join("\n" + heredoc.raw + heredoc.name for heredoc in statement.heredocs)
    return OnBuild(statement, text)
