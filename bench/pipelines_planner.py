"""What does an event cost the planner of a pipeline run, as the run grows from 10 to 10,000 tasks?

Three shapes: one loop whose iterations are DAGs of one step, as wide as the run; the same with 5 at once; one DAG of
steps one after another. Each step starts and ends, and all that follows is taken. The baseline of each figure is the
run of 10 tasks in the same process (a ratio of 1 is a cost that does not grow); processor time, the best of some. What
one event can set off at once (a fan-out) and going on after a crash are measured a task.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / part) for part in ("src", "tests")]

if TYPE_CHECKING:
    from support.pipeline_runs import PlannedRun

SMALL = 10
LARGE = 10_000


def run(quick: bool) -> list[dict[str, object]]:
    """Return rows for each shape."""
    large = 1_000 if quick else LARGE
    rows = []
    for name, make in SHAPES.items():
        small = best([measure(make, SMALL) for _ in range(30)])
        grown = best([measure(make, large) for _ in range(1 if quick else 3)])
        rows += [
            {
                "name": f"{name}, {large} tasks: {what}",
                "value": grown[what],
                "unit": unit,
                "baseline": f"{SMALL} tasks",
                "baseline_value": small[what],
                "ratio": small[what] / grown[what],
            }
            for what, unit in (
                ("an event", "us"),
                ("begin", "us a task"),
                ("go on after a crash", "us a task"),
            )
        ]
    return rows


def best(measured: list[dict[str, float]]) -> dict[str, float]:
    """Return the lowest of each figure."""
    return {name: min(one[name] for one in measured) for name in measured[0]}


def measure(make: Callable[[int], dict[str, Any]], size: int) -> dict[str, float]:
    """Return microseconds: an event on average, and beginning and going on for each task of the run."""
    from support.pipeline_runs import PlannedRun

    planned = PlannedRun(make(size))
    before = time.process_time()
    planned.start()
    begun = time.process_time() - before
    spent, events = 0.0, 0
    crashed = 0.0
    while planned.finish is None:
        path, launch = next(iter(planned.open.items()))
        del planned.open[path]
        spent += say(planned, path, launch.attempt)
        events += 2
        if events == size // 2 * 2:
            crashed = go_on(planned)
    return {
        "an event": spent / events * 1e6,
        "begin": begun / size * 1e6,
        "go on after a crash": crashed / size * 1e6,
    }


def say(planned: PlannedRun, path: str, attempt: int) -> float:
    """Say that a step has started and ended well; return the seconds that its planner took."""
    from proa.ml.pipelines.planning.messages import Started, Succeeded
    from proa.ml.pipelines.records import Values

    before = time.process_time()
    first = planned.planner.handle(Started(path, attempt))
    second = planned.planner.handle(Succeeded(path, attempt, Values({"y": 1})))
    spent = time.process_time() - before
    planned.take(first).take(second)
    return spent


def go_on(planned: PlannedRun) -> float:
    """Make another planner of what is recorded, which goes on; return the seconds that it took."""
    before = time.process_time()
    planned.crash().start()
    return time.process_time() - before


def make_loop(size: int, limit: int = 0) -> dict[str, Any]:
    """Return a pipeline of a loop over so many items, and a step that has what it collected."""
    from support.pipeline_runs import dag, declare, loop, out, outer, pipeline, step, task

    body = dag({"work": task("w", inputs={"x": outer("x")})}, {"x": {}}, {"r": "work.y"})
    tasks = {
        "loop": task("body", **loop("x", list(range(size)), limit)),
        "use": task("use", inputs={"v": out("loop.r")}),
    }
    work = step({"x": {}}, declare(y=int))
    return pipeline(dag(tasks), body=body, w=work, use=step({"v": {}}))


def make_chain(size: int) -> dict[str, Any]:
    """Return a pipeline of so many steps, one after another."""
    from support.pipeline_runs import dag, declare, out, pipeline, step, task

    first = {"s0": task("w")}
    rest = {f"s{n}": task("w", inputs={"x": out(f"s{n - 1}.y")}) for n in range(1, size)}
    return pipeline(dag(first | rest), w=step({"x": {"isOptional": True}}, declare(y=int)))


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "fan-out": make_loop,
    "loop of 5 at once": lambda size: make_loop(size, 5),
    "chain": make_chain,
}

if __name__ == "__main__":
    for row in run("--quick" in sys.argv):
        print(row)
