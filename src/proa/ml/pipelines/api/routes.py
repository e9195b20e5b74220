"""Every call by its method and path, as one table; finding one takes a look at each of its path's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from proa.ml.pipelines.api.call import Answerer
from proa.ml.pipelines.api.refusals import Code, Refusal

Route = tuple[str, str, str, Answerer]
"""Method, pattern (`runs/{run_id}:retry`), what an error says first ("Failed to retry a run"), and who answers."""


class Routes:
    """A tree of the patterns' parts. A `{name}` stands for one part."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root: dict[str, object] = {}
        for method, pattern, doing, answerer in routes:
            parts, _, verb = pattern.partition(":")
            node = self._root
            for part in parts.split("/"):
                key = "*" if part.startswith("{") else part
                node = node.setdefault(key, {})  # type: ignore[assignment]
            node[f":{method} {verb}"] = ([p[1:-1] for p in parts.split("/") if p[0] == "{"], doing, answerer)

    def find(self, method: str, parts: Sequence[str]) -> tuple[Mapping[str, str], str, Answerer]:
        """Return what the path's names stand for, what an error says first, and who answers; raise Refusal."""
        last, colon, verb = parts[-1].rpartition(":") if parts else ("", "", "")
        ways = [(parts, "")]
        if colon and last:
            ways.insert(0, ([*parts[:-1], last], verb))
        is_there = False
        for way, asked in ways:
            for node, values in self._ends(way):
                is_there = is_there or any(key.startswith(":") for key in node)
                found = node.get(f":{method} {asked}")
                if found is not None:
                    names, doing, answerer = found  # type: ignore[misc]
                    return dict(zip(names, map(unquote, values), strict=True)), doing, answerer
        if is_there:
            raise Refusal(Code.UNIMPLEMENTED, f"Method Not Allowed: {method}")
        raise Refusal(Code.NOT_FOUND, "Not Found")

    def _ends(self, parts: Sequence[str]) -> list[tuple[dict[str, object], list[str]]]:
        """Return each node that the parts lead to, literal ones first, with what its stars stand for."""
        ends: list[tuple[dict[str, object], list[str]]] = [(self._root, [])]
        for part in parts:
            following: list[tuple[dict[str, object], list[str]]] = []
            for node, values in ends:
                if part in node and part[:1] not in ("*", ":"):
                    following.append((node[part], values))  # type: ignore[arg-type]
                if "*" in node and part:
                    following.append((node["*"], [*values, part]))  # type: ignore[arg-type]
            ends = following
        return ends
