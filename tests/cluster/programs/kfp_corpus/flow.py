"""Conditions, branches that become one, loops of every kind, what is collected of them, and order."""

from typing import List

from kfp import dsl
from steps import IMAGE, add, expect, expect_list, join, say


@dsl.component(base_image=IMAGE)
def never():
    raise SystemExit("this task must not run")


@dsl.component(base_image=IMAGE)
def numbers(count: int) -> List[int]:
    return list(range(count))


@dsl.component(base_image=IMAGE)
def rows() -> list:
    return [{"label": "a", "count": 1}, {"label": "b", "count": 2}]


@dsl.component(base_image=IMAGE)
def flag(value: bool) -> bool:
    return value


@dsl.component(base_image=IMAGE)
def half(value: float) -> float:
    return value / 2


@dsl.pipeline(name="branches")
def branches(mode: str = "fast", level: int = 5) -> str:
    with dsl.If(mode == "slow"):
        slow = say(text="slow")
    with dsl.Elif(level > 4):
        between = say(text="between")
    with dsl.Else():
        other = say(text="other")
    expect(got=dsl.OneOf(slow.output, between.output, other.output), want="between")
    yes, small = flag(value=True), half(value=1.0)
    with dsl.If(yes.output == True):  # noqa: E712 a condition of the pipeline's
        with dsl.If(small.output < 0.75):
            inside = add(a=level, b=1)
            with dsl.If(inside.output != 6):
                never()
            with dsl.Else():
                expect(got=f"{inside.output}", want="6")
        with dsl.Else():
            never()
    with dsl.If(yes.output == False):  # noqa: E712
        never().after(yes)
    return dsl.OneOf(slow.output, between.output, other.output)


@dsl.pipeline(name="loops")
def loops(names: List[str] = ["x", "y"], digits: List[str] = ["1", "2"]) -> List[int]:
    with dsl.ParallelFor(items=[1, 2, 3], parallelism=2) as item:
        plus = add(a=item, b=10)
    expect_list(got=dsl.Collected(plus.output), want=[11, 12, 13])

    with dsl.ParallelFor(items=names) as name:
        with dsl.ParallelFor(items=digits) as digit:
            word = join(a=name, b=digit)
    expect_list(got=dsl.Collected(word.output), want=[["x1", "x2"], ["y1", "y2"]])

    with dsl.ParallelFor(items=[{"label": "a", "count": 3}, {"label": "b", "count": 4}]) as row:
        sized = say(text=row.count)
        say(text=row.label)
    expect_list(got=dsl.Collected(sized.output), want=["3", "4"])

    made = rows()
    with dsl.ParallelFor(items=made.output, parallelism=1) as row:
        label = say(text=row.label)
        with dsl.If(row.label == "c"):
            never()
    expect_list(got=dsl.Collected(label.output), want=["a", "b"])

    count = numbers(count=0)
    with dsl.ParallelFor(items=count.output) as item:
        never_run = add(a=item, b=1)
    expect_list(got=dsl.Collected(never_run.output), want=[]).after(count)
    return dsl.Collected(plus.output)


@dsl.pipeline(name="square")
def total_of(values: List[int]) -> int:
    with dsl.ParallelFor(items=values) as value:
        with dsl.If(value > 1):
            add(a=value, b=0)
    last = add(a=100, b=1)
    return last.output


@dsl.pipeline(name="flow")
def flow():
    chosen = branches()
    expect(got=chosen.output, want="between")
    found = loops()
    expect_list(got=found.output, want=[11, 12, 13])
    totals = total_of(values=found.output)
    expect(got=f"{totals.output}", want="101")


@dsl.pipeline(name="order")
def order():
    first = say(text="first")
    second = say(text="second").after(first)
    with dsl.If(second.output == "second"):
        with dsl.ParallelFor(items=["p", "q"]) as letter:
            inner = say(text=letter)
        expect_list(got=dsl.Collected(inner.output), want=["p", "q"])


PIPELINES = {"flow": (flow, {}), "order": (order, {})}
