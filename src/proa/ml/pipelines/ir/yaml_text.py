"""Read the YAML of pipelines, which anybody may have written: no more of it than one request may cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from proa.objects.yaml_limits import check_size
from proa.objects.yaml_loader import make_loader

MAX_TEXT_LENGTH = 8 * 1024 * 1024
"""A second of work for each of these; JSON is read a hundred times faster."""
MAX_EXPANDED_BYTES = 2 * MAX_TEXT_LENGTH
MAX_EVENTS = 1_000_000
"""Keys, values, starts and ends: each takes up to a kilobyte when it is built. 1,000 tasks have 100,000 of them."""


def load_documents(text: str) -> list[Any]:
    """Return the documents that are not empty; raise ValueError."""
    import yaml

    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(
            f"yaml: {len(text)} characters; at most {MAX_TEXT_LENGTH}, or send the pipeline as JSON"
        )
    loader = make_loader()
    try:
        check_size(_counted(yaml.parse(text, Loader=loader)), MAX_EXPANDED_BYTES)
        return [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"yaml: {where}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {error}") from None


def _counted(events: Iterable[Any]) -> Iterator[Any]:
    for number, event in enumerate(events):
        if number >= MAX_EVENTS:
            raise ValueError("yaml: too many keys and values; send the pipeline as JSON")
        yield event
