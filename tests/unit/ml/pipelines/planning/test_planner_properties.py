"""Whatever the pipeline, the order of what happens and the crashes in between: a run ends, and always the same way."""

from __future__ import annotations

import random
from typing import Any
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pipeline_runs import (
    PlannedRun,
    dag,
    declare,
    loop,
    out,
    pipeline,
    retries,
    step,
    task,
)

from proa.ml.pipelines.planning.messages import (
    Action,
    BackoffOver,
    Failed,
    Launch,
    Record,
    Stopped,
    Succeeded,
    Terminate,
)
from proa.ml.pipelines.planning.node import SCOPES
from proa.ml.pipelines.records import FINAL_TASK_STATES, RunState, TaskState, Values

Json = dict[str, Any]
SEEDS = st.integers(0, 2**32)
SIZES = st.integers(1, 5)


class RandomPipeline:
    """A pipeline of DAGs in DAGs, loops, conditions, exit tasks and retries."""

    def __init__(self, seed: int, size: int) -> None:
        self._random = random.Random(seed)
        self._size = size
        self.components: Json = {"s": step({"x": {"isOptional": True, "defaultValue": 1}}, declare(o=int))}
        self.spec = pipeline(self._dag(0), **self.components)
        self.needs: dict[str, Json] = {}

    def _dag(self, depth: int) -> Json:
        tasks: Json = {}
        for number in range(self._random.randint(1, self._size)):
            before = self._random.sample(sorted(tasks), self._random.randint(0, min(2, len(tasks))))
            tasks[f"t{number}"] = self._task(depth, before)
        return dag(tasks, {"i": {"isOptional": True}}, {"o": f"{self._random.choice(sorted(tasks))}.o"})

    def _task(self, depth: int, before: list[str]) -> Json:
        chance = self._random.random
        fields: Json = {"after": before[1:], "always": chance() < 0.2}
        inputs: Json = {"x": out(f"{before[0]}.o")} if before else {}
        if chance() < 0.15:
            fields["when"] = f"{str(chance() < 0.5).lower()} == true"
        if chance() < 0.3:
            fields |= retries(self._random.randint(0, 2), self._random.choice(["0s", "3s"]))
        component = "s"
        if depth < 2 and chance() < 0.35:
            component = f"d{len(self.components)}"
            self.components[component] = {}
            made = self._dag(depth + 1)
            made["inputDefinitions"]["parameters"] |= {"x": {"isOptional": True, "defaultValue": 1}}
            self.components[component] = made
        if chance() < 0.2:
            items = list(range(self._random.randint(0, 3)))
            fields |= loop("i" if component != "s" else "x", items, self._random.randint(0, 2))
            inputs = {} if component == "s" else inputs
        return task(component, inputs=inputs, **fields)


def fails(path: str, attempt: int, seed: int) -> bool:
    """Say what becomes of an attempt, whenever and however often it is asked for."""
    return crc32(f"{path}#{attempt}#{seed}".encode()) % 100 < 25


class World:
    """Runs a pipeline: picks what happens next at random, crashes now and then, and checks each action."""

    def __init__(self, pipeline: RandomPipeline, fate: int, order: int, crash_chance: float = 0.0) -> None:
        self.run = PlannedRun(pipeline.spec)
        self.fate: int | None = fate
        self._random = random.Random(order)
        self._crash_chance = crash_chance
        self._asked: set[tuple[str, int]] = set()

    def begin(self) -> World:
        """Start the run."""
        self._take(self.run.planner.start())
        return self

    def work(self) -> World:
        """Go on until the run is over."""
        for _ in range(20_000):
            if self.run.finish is not None:
                return self
            self.do_one()
        raise AssertionError(f"the run does not end: {self.run.states()}")

    def do_one(self) -> None:
        """Have one thing happen."""
        run = self.run
        choices = [*(("open", p) for p in run.open if p not in run.stops), *(("waits", p) for p in run.waits)]
        choices += [("stops", p) for p in run.stops]
        assert choices, f"nothing is under way, and the run is not over: {run.states()}"
        kind, path = self._random.choice(sorted(choices))
        if kind == "open":
            launch = run.open.pop(path)
            self._take(run.planner.handle(self._outcome(path, launch.attempt)))
        elif kind == "waits":
            self._take(run.planner.handle(BackoffOver(path, run.waits.pop(path).attempt)))
        else:
            run.open.pop(path, None)
            self._take(run.planner.handle(Stopped(path, run.stops.pop(path).attempt)))

    def _outcome(self, path: str, attempt: int) -> Succeeded | Failed:
        if self.fate is not None and fails(path, attempt, self.fate):
            return Failed(path, attempt, f"{path} failed")
        return Succeeded(path, attempt, Values({"o": attempt}))

    def _take(self, actions: list[Action]) -> None:
        if self._random.random() < self._crash_chance:
            self._crash(actions)
            return
        before = dict(self.run.records)
        self.run.take(actions)
        self._check(actions, before)

    def _crash(self, actions: list[Action]) -> None:
        """Lose the planner after some of its records were written, before anything that it asked for was done."""
        records = [action for action in actions if isinstance(action, Record)]
        self.run.take(records[: self._random.randint(0, len(records))])
        self.run.crash()
        self._asked = set()
        self._take(self.run.planner.start())

    def _check(self, actions: list[Action], before: Json) -> None:
        for action in actions:
            if isinstance(action, Launch):
                self._check_launch(action, before)
        self._check_parallelism()

    def _check_launch(self, launch: Launch, before: Json) -> None:
        path, attempt = launch.path, launch.attempt
        record, old = self.run.records[path], before.get(path)
        assert (path, attempt) not in self._asked, "launched twice"
        self._asked.add((path, attempt))
        assert (record.state, record.attempt) == (TaskState.RUNNING, attempt), (
            "launched before it is recorded"
        )
        if old is not None:
            assert attempt > old.attempt or old.state not in FINAL_TASK_STATES, (
                "an attempt that is over is launched"
            )
        assert record.kind not in SCOPES
        if record.iteration is None:
            parent = record.parent or ""
            is_exit = launch.task_spec["triggerPolicy"].get("strategy") is not None
            for needed in launch.task_spec["dependentTasks"]:
                other = self.run.records.get(f"{parent}/{needed}".lstrip("/"))
                assert is_exit if other is None else other.state in FINAL_TASK_STATES
                assert is_exit or (other is not None and other.state is TaskState.SUCCEEDED)

    def _check_parallelism(self) -> None:
        nodes = self.run.planner._tree.nodes
        running: dict[str, int] = {}
        for record in self.run.records.values():
            node = nodes.get(record.path)
            if (
                record.iteration is not None
                and node is not None
                and node.state not in {None, *FINAL_TASK_STATES}
            ):
                running[str(record.parent)] = running.get(str(record.parent), 0) + 1
        for path, count in running.items():
            assert count <= (nodes[path].plan.parallelism or count)

    def outcome(self) -> tuple[str, dict[str, str]]:
        """Return how the run ended, and each of its tasks."""
        return self.run.result, self.run.states()


@settings(max_examples=60)
@given(SEEDS, SIZES, SEEDS, SEEDS, SEEDS)
def test_a_run_ends_in_the_same_way_whatever_happens_first_and_wherever_it_crashes(
    seed: int, size: int, fate: int, order: int, other: int
) -> None:
    made = RandomPipeline(seed, size)
    plain = World(made, fate, order).begin().work()
    crashing = World(made, fate, other, crash_chance=0.25).begin().work()
    assert crashing.outcome() == plain.outcome()
    assert all(task.state in FINAL_TASK_STATES for task in plain.run.records.values())


@settings(max_examples=40)
@given(SEEDS, SIZES, SEEDS, SEEDS)
def test_retry_of_a_failed_run_ends_and_does_nothing_again_that_ended_well(
    seed: int, size: int, fate: int, order: int
) -> None:
    made = RandomPipeline(seed, size)
    world = World(made, fate, order).begin().work()
    if world.run.result != "FAILED":
        return
    good = {
        p for p, t in world.run.records.items() if t.state is TaskState.SUCCEEDED and t.kind not in SCOPES
    }
    before = len(world.run.launched)
    world.fate = None
    world.run.retry()
    world.work()
    assert world.run.result == "SUCCEEDED"
    assert not good & {path for path, _ in world.run.launched[before:]}
    assert len(set(world.run.launched)) == len(world.run.launched)


@settings(max_examples=40)
@given(SEEDS, SIZES, SEEDS, SEEDS, st.integers(0, 12), st.sampled_from([RunState.CANCELED, RunState.FAILED]))
def test_a_run_that_is_asked_to_end_does_and_can_go_on_later(
    seed: int, size: int, fate: int, order: int, steps: int, state: RunState
) -> None:
    world = World(RandomPipeline(seed, size), fate, order).begin()
    for _ in range(steps):
        if world.run.finish is None:
            world.do_one()
    if world.run.finish is not None:
        return
    world._take(world.run.planner.handle(Terminate(state, "enough")))
    world.work()
    assert world.run.finish is not None
    assert (world.run.result, world.run.finish.error) == (state, "enough")
    world.fate = None
    world.run.retry()
    world.work()
    assert world.run.result == "SUCCEEDED"
