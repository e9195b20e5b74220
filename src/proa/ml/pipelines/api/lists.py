"""What lists share: their query, and their answer with where to go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from proa.client.protocol import Response
from proa.ml.pipelines.api.call import Call, answer, without_empty
from proa.ml.pipelines.database.paging import ListOptions, Page
from proa.ml.pipelines.records import Json

_Item = TypeVar("_Item")


def list_options(call: Call) -> ListOptions:
    """Return what a list request says of its page; raise Refusal."""
    return ListOptions(call.page_size, call.text("page_token"), call.text("sort_by"), call.text("filter"))


def list_answer(field: str, page: Page[_Item], render: Callable[[_Item], Json]) -> Response:
    """Return a page; its list is left out where it is empty, as upstream leaves it out."""
    items = [without_empty(render(item)) for item in page.items]
    return answer({field: items, "total_size": page.total, "next_page_token": page.next_token})
