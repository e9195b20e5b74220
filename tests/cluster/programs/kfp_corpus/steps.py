"""Steps that the pipelines of the corpus share: each fails where it did not get what it should have."""

from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def expect(got: str, want: str):
    if got != want:
        raise SystemExit(f"got {got!r}, want {want!r}")


@dsl.component(base_image=IMAGE)
def expect_list(got: list, want: list, any_order: bool = False):
    if any_order:
        got, want = sorted(got, key=str), sorted(want, key=str)
    if got != want:
        raise SystemExit(f"got {got!r}, want {want!r}")


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def add(a: int, b: int) -> int:
    return a + b


@dsl.component(base_image=IMAGE)
def join(a: str, b: str) -> str:
    return a + b
