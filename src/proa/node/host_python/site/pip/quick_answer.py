"""Answer `pip install` at once when all that it asks for is there.

One thing is answered more freely than by pip: a step of a pipeline pins the kfp that compiled it, and any installed
kfp of the same major version serves it. That is said on stderr each time.
"""

from __future__ import annotations

from collections.abc import Sequence

from .installed import Installed
from .requirements import Requirement, Unusual, parse_version

FLAGS = frozenset(
    {
        "-q", "-qq", "--quiet", "--user", "--no-deps", "--no-warn-script-location", "--disable-pip-version-check",
        "--no-cache-dir", "--no-input", "--no-color", "--break-system-packages", "--prefer-binary", "--no-index",
        "--no-python-version-warning", "--no-warn-conflicts", "--pre", "--no-build-isolation", "--use-pep517",
        "--require-virtualenv",
    }
)  # fmt: skip
"""Options without a value that have no bearing on whether something is installed."""
VALUES = frozenset(
    {
        "-i", "--index-url", "--extra-index-url", "--trusted-host", "-f", "--find-links", "--root-user-action",
        "--timeout", "--retries", "--cert", "--proxy", "--progress-bar", "--only-binary", "--no-binary", "--cache-dir",
    }
)  # fmt: skip
"""Such options with a value."""
_LENIENT = "kfp"
_MOST_PROJECTS = 2000


class Wanted:
    """The arguments of `pip install`: options, and what to install. Raises Unusual for options not known here."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.options: list[str] = []
        self.requirements: list[str] = []
        rest = iter(arguments)
        for word in rest:
            if word in FLAGS or ("=" in word and word.partition("=")[0] in VALUES):
                self.options.append(word)
            elif word in VALUES:
                self.options += [word, next(rest, "")]
            elif word.startswith("-"):
                raise Unusual(word)
            else:
                self.requirements.append(word)
        if not self.requirements:
            raise Unusual("nothing to install")

    @property
    def is_quiet(self) -> bool:
        """Tell whether pip would say nothing of what is satisfied."""
        return any(option in ("-q", "-qq", "--quiet") for option in self.options)

    @property
    def takes_dependencies(self) -> bool:
        """Tell whether what they need is wanted too."""
        return "--no-deps" not in self.options


class Answer:
    """What was found satisfied (`Requirement already satisfied: ...` lines), and what was answered freely (`notes`)."""

    def __init__(self) -> None:
        self.satisfied: list[str] = []
        self.notes: list[str] = []


def find_answer(wanted: Wanted, installed: Installed) -> Answer | None:
    """Return the answer when everything is there, None otherwise. Raises Unusual for what is not judged here."""
    answer = Answer()
    todo = [(Requirement(text), True) for text in wanted.requirements]
    seen: set[str] = set()
    while todo:
        requirement, is_asked = todo.pop(0)
        if not requirement.applies() or (not is_asked and requirement.text in seen):
            continue
        seen.add(requirement.text)
        version = installed.find_version(requirement.name)
        if not version or len(seen) > _MOST_PROJECTS:
            return None
        if not requirement.accepts(version):
            if not (is_asked and _serves(requirement, version)):
                return None
            answer.notes.append(
                f"proa: kfp {version} of this environment serves for {requirement.text!r}: nothing is installed"
            )
        if is_asked:
            folder = installed.find_folder(requirement.name)
            answer.satisfied.append(
                f"Requirement already satisfied: {requirement.text} in {folder} ({version})"
            )
        if wanted.takes_dependencies:
            todo += [(needed, False) for needed in installed.dependencies(requirement.name)]
    return answer


def _serves(requirement: Requirement, version: str) -> bool:
    """Tell whether an installed kfp serves one that is pinned: how steps are run is that of a major version."""
    if requirement.name != _LENIENT or [operator for operator, _ in requirement.specifiers] != ["=="]:
        return False
    pinned = requirement.specifiers[0][1].removesuffix(".*")
    return parse_version(pinned)[1][0] == parse_version(version)[1][0]
