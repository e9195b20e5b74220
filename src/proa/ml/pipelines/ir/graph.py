"""Find circles (of tasks that wait, of components that hold one another), and count what a pipeline expands to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping


def find_cycle(edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Return the nodes of one circle, the first again at the end; None where there is none. No recursion."""
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        path: dict[str, None] = {start: None}
        stack = [iter(edges[start])]
        while stack:
            following = next((node for node in stack[-1] if node in edges and node not in done), None)
            if following is None:
                stack.pop()
                done.add(path.popitem()[0])
            elif following in path:
                names = list(path)
                return [*names[names.index(following) :], following]
            else:
                path[following] = None
                stack.append(iter(edges[following]))
    return None


def count_expanded(edges: Mapping[str, list[str]], root: str) -> tuple[int, int]:
    """Return how many nodes the tree below `root` has, and how deep it is; `edges` has no circle, but repetitions."""
    sizes: dict[str, tuple[int, int]] = {}
    for node in _bottom_up(root, lambda name: edges.get(name, [])):
        below = [sizes[child] for child in edges.get(node, [])]
        sizes[node] = (1 + sum(size for size, _ in below), 1 + max((depth for _, depth in below), default=0))
    return sizes[root]


def _bottom_up(root: str, children: Callable[[str], list[str]]) -> Iterable[str]:
    """Yield each node once, after its children."""
    seen: set[str] = {root}
    stack = [(root, iter(children(root)))]
    while stack:
        node, waiting = stack[-1]
        following = next((child for child in waiting if child not in seen), None)
        if following is None:
            stack.pop()
            yield node
        else:
            seen.add(following)
            stack.append((following, iter(children(following))))
