"""Find the call that a method and path name: one table of patterns, read once into a tree of their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from proa.ml.pipelines.api.call import Answerer
from proa.ml.pipelines.api.refusals import Code, Refusal

Route = tuple[str, str, str, Answerer]
"""Method, pattern (`runs/{run_id}:retry`), what an error says first ("Failed to retry a run"), and who answers."""
Found = tuple[Mapping[str, str], str, Answerer]
"""What the pattern's names stand for, what an error says first, and who answers."""


class _Node:
    """What follows a part: literal parts by themselves, `{name}` as `any`, and the calls that end here."""

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.ends: dict[tuple[str, str], tuple[Sequence[str], str, Answerer]] = {}

    def below(self, part: str) -> _Node:
        """Return the node of a pattern's part, made if there is none."""
        if not part.startswith("{"):
            return self.literal.setdefault(part, _Node())
        if self.any is None:
            self.any = _Node()
        return self.any


class Routes:
    """All calls."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = _Node()
        for method, pattern, doing, answerer in routes:
            way, _, verb = pattern.partition(":")
            parts, node = way.split("/"), self._root
            for part in parts:
                node = node.below(part)
            names = [part[1:-1] for part in parts if part.startswith("{")]
            node.ends[method, verb] = (names, doing, answerer)

    def find(self, method: str, parts: Sequence[str]) -> Found:
        """Return the call; raise Refusal. A last part with a colon is a name and a verb where there is such a call."""
        ways = [(list(parts), "")]
        last, colon, verb = parts[-1].rpartition(":") if parts else ("", "", "")
        if colon and last:
            ways.insert(0, ([*parts[:-1], last], verb))
        is_there = False
        for way, asked in ways:
            for node, values in self._follow(way):
                if (end := node.ends.get((method, asked))) is not None:
                    names, doing, answerer = end
                    return dict(zip(names, map(unquote, values), strict=True)), doing, answerer
                is_there = is_there or any(known == asked for _, known in node.ends)
        if is_there:
            raise Refusal(Code.UNIMPLEMENTED, f"Method Not Allowed: {method}")
        raise Refusal(Code.NOT_FOUND, "Not Found")

    def _follow(self, parts: Sequence[str]) -> list[tuple[_Node, list[str]]]:
        """Return the nodes that the parts lead to, literal ones first, with what the names stand for."""
        found: list[tuple[_Node, list[str]]] = [(self._root, [])]
        for part in parts:
            after = []
            for node, values in found:
                if part in node.literal:
                    after.append((node.literal[part], values))
                if node.any is not None:
                    after.append((node.any, [*values, part]))
            found = after
        return found
