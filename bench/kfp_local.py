"""Compile the benchmark's pipelines, or run one as `kfp local` does; runs where kfp is installed, and nothing of Proa.

kfp_local.py compile FOLDER WIDTH...      writes chain.yaml and fan-WIDTH.yaml
kfp_local.py run chain|fan WIDTH          prints the seconds that it took, as JSON
"""

import json
import sys
import time
import warnings

warnings.simplefilter("ignore", FutureWarning)

from kfp import compiler, dsl, local  # noqa: E402


@dsl.component
def add(a: int, b: int) -> int:
    return a + b


def make_chain(length: int):
    """Return a pipeline of so many steps, each of which waits for the one before it."""

    @dsl.pipeline(name="chain")
    def chain():
        task = add(a=0, b=1)
        for _ in range(length - 1):
            task = add(a=task.output, b=1)

    return chain


def make_fan(width: int):
    """Return a pipeline of so many steps that wait for nothing."""

    @dsl.pipeline(name=f"fan-{width}")
    def fan():
        with dsl.ParallelFor(list(range(width))) as number:
            add(a=number, b=1)

    return fan


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "compile":
        folder, length, *widths = rest
        compiler.Compiler().compile(make_chain(int(length)), f"{folder}/chain.yaml")
        for width in widths:
            compiler.Compiler().compile(make_fan(int(width)), f"{folder}/fan-{width}.yaml")
        return
    local.init(runner=local.SubprocessRunner(use_venv=False), raise_on_error=True)
    pipeline = {"chain": make_chain, "fan": make_fan}[rest[0]](int(rest[1]))
    begun = time.perf_counter()
    pipeline()
    print(json.dumps(time.perf_counter() - begun))


main()
