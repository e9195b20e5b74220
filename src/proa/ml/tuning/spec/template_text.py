"""Read a trial's template that stands in a ConfigMap, with its placeholders still in it.

There a placeholder may stand where YAML has no quotes (`replicas: ${trialParameters.workers}`), and is a number then if
its value is one. So the text is read first and filled in afterwards: no value can change what the rest of it means.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from proa.objects.yaml_limits import check_size
from proa.objects.yaml_loader import make_loader

MAX_BYTES = 1024 * 1024
"""What a ConfigMap may have."""
MAX_EVENTS = 100_000
PLACEHOLDER = re.compile(r"\$\{trialParameters\.([^{}]+)\}")
_STANDIN = "TrialParameter"


class Bare(str):
    """A text with placeholders that YAML had without quotes."""

    __slots__ = ()


def read_template(text: str) -> Any:
    """Return the first document that is not empty; raise ValueError."""
    import yaml

    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES} bytes")
    stand_in = _STANDIN
    while stand_in in text:
        stand_in += "X"
    names: list[str] = []

    def hide(match: re.Match[str]) -> str:
        names.append(match[1])
        return f"{stand_in}{len(names) - 1}Y"

    hidden = PLACEHOLDER.sub(hide, text)  # in `[a, ${b}]` the braces would be a mapping's
    loader = _make_loader(stand_in, tuple(names))
    try:
        check_size(_counted(yaml.parse(hidden, Loader=loader)), MAX_BYTES)
        return next((found for found in yaml.load_all(hidden, Loader=loader) if found is not None), None)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"yaml: {where}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {error}") from None


def _counted(events: Iterable[Any]) -> Iterator[Any]:
    for number, event in enumerate(events):
        if number >= MAX_EVENTS:
            raise ValueError("yaml: too many keys and values")
        yield event


@functools.lru_cache(maxsize=16)
def _make_loader(stand_in: str, names: tuple[str, ...]) -> Any:
    """Return a loader that puts placeholders back where what stood for them is met."""
    base: Any = make_loader()
    hidden = re.compile(f"{stand_in}([0-9]+)Y")

    class Loader(base):  # type: ignore[misc]
        """See `make_loader`."""

    def construct_text(loader: Any, node: Any) -> str:
        value, count = hidden.subn(lambda match: f"${{trialParameters.{names[int(match[1])]}}}", node.value)
        return Bare(value) if count and not node.style else value

    Loader.add_constructor("tag:yaml.org,2002:str", construct_text)
    return Loader
