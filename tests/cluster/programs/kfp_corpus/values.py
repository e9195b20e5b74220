"""Parameters: every type, defaults, what is optional, several outputs, nested pipelines, placeholders in texts."""

from typing import NamedTuple, Optional

from kfp import dsl
from steps import IMAGE, add, expect, say


@dsl.component(base_image=IMAGE)
def make(i: int, f: float, s: str, b: bool, l: list, d: dict) -> NamedTuple(
    "Made", [("i", int), ("f", float), ("s", str), ("b", bool), ("l", list), ("d", dict)]
):
    from collections import namedtuple

    assert [type(x) for x in (i, f, s, b, l, d)] == [int, float, str, bool, list, dict], (i, f, s, b, l, d)
    return namedtuple("Made", "i f s b l d")(i * 2, f * 2, s * 2, not b, [*l, l], {**d, "nested": d})


@dsl.component(base_image=IMAGE)
def take(i: int, f: float, s: str, b: bool, l: list, d: dict, want: list, promoted: float):
    got = [i, f, s, b, l, d]
    assert got == want, f"got {got}, want {want}"
    assert promoted == i
    assert isinstance(promoted, (int, float))


@dsl.component(base_image=IMAGE)
def choose(
    given: str,
    i: int = 7,
    f: float = 0.5,
    s: str = "default",
    b: bool = True,
    l: list = [1, "a"],
    d: dict = {"k": [2]},
    none: Optional[str] = None,
    number: Optional[int] = None,
) -> str:
    return repr((given, i, f, s, b, l, d, none, number))


@dsl.component(base_image=IMAGE)
def names(
    job: str, resource: str, run_id: str, task: str, task_id: str, created: str, scheduled: str, root: str
) -> str:
    import re
    import uuid

    values = dict(locals())
    for name in ("job", "resource", "run_id", "task", "task_id", "created", "scheduled", "root"):
        assert values[name], name
        assert "{{" not in values[name], (name, values[name])
    uuid.UUID(run_id)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", created), created
    assert "://" in root or root.startswith("/"), root
    return task


@dsl.pipeline(name="inner")
def inner(x: int, text: str = "inner", note: Optional[str] = None) -> NamedTuple(
    "Inner", [("total", int), ("word", str)]
):
    total = add(a=x, b=10)
    word = say(text=f"{text}-{total.output}")
    choose(given="nested", none=note)
    from collections import namedtuple

    return namedtuple("Inner", "total word")(total.output, word.output)


@dsl.pipeline(name="outer")
def outer(x: int) -> int:
    first = inner(x=x)
    second = inner(x=first.outputs["total"], text="again")
    expect(got=first.outputs["word"], want="inner-11").set_display_name("the inner default")
    expect(got=second.outputs["word"], want="again-21")
    return second.outputs["total"]


@dsl.pipeline(name="values", description="parameters of every type")
def values(
    i: int = 3,
    f: float = 1.5,
    s: str = "ü \"quoted\" 'text' {{x}} $HOME",
    b: bool = True,
    l: list = [1, [2, "x"], {"y": 0}],
    d: dict = {"a": 1, "b": {"c": [True, "n", 1.5]}},
    note: Optional[str] = None,
    number: Optional[int] = None,
) -> int:
    made = make(i=i, f=f, s=s, b=b, l=l, d=d)
    take(
        i=made.outputs["i"],
        f=made.outputs["f"],
        s=made.outputs["s"],
        b=made.outputs["b"],
        l=made.outputs["l"],
        d=made.outputs["d"],
        promoted=6.0,
        want=[
            6,
            3.0,
            "ü \"quoted\" 'text' {{x}} $HOME" * 2,
            False,
            [1, [2, "x"], {"y": 0}, [1, [2, "x"], {"y": 0}]],
            {"a": 1, "b": {"c": [True, "n", 1.5]}, "nested": {"a": 1, "b": {"c": [True, "n", 1.5]}}},
        ],
    )
    expect(
        got=choose(given="x", none=note, number=number).set_display_name("defaults").output,
        want="('x', 7, 0.5, 'default', True, [1, 'a'], {'k': [2]}, None, None)",
    )
    expect(
        got=choose(given="", i=0, f=0.25, s="", b=False, l=[], d={}, none="", number=0).output,
        want="('', 0, 0.25, '', False, [], {}, '', 0)",
    )
    task = names(
        job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
        created=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
        scheduled=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
        root=dsl.PIPELINE_ROOT_PLACEHOLDER,
    )
    expect(got=task.output, want="names")
    total = outer(x=1)
    expect(got=f"{total.output}/{made.outputs['i']}/{made.outputs['b']}", want="21/6/false")
    return total.output


PIPELINES = {"values": (values, {})}
