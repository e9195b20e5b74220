"""Container components: any command in any image, placeholders of every kind, outputs left as files."""

from typing import Optional

from kfp import dsl
from steps import IMAGE, expect


@dsl.container_component
def shell(
    text: str,
    number: int,
    flags: list,
    table: dict,
    out: dsl.OutputPath(str),
    count: dsl.OutputPath(int),
    report: dsl.Output[dsl.Artifact],
    note: Optional[str] = None,
    prefix: str = "p",
):
    script = """
set -e
mkdir -p "$(dirname "$1")" "$(dirname "$2")" "$(dirname "$3")"
printf '%s|%s|%s|%s|%s|%s' "$4" "$5" "$6" "$7" "$8" "$9" > "$1"
printf 42 > "$2"
echo "$10 $0" > "$3"
"""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", script, "sh"],
        args=[
            out,
            count,
            report.path,
            text,
            number,
            flags,
            table,
            dsl.ConcatPlaceholder([prefix, "-", text]),
            dsl.IfPresentPlaceholder(input_name="note", then=["--note", note], else_=["absent"]),
        ],
    )


@dsl.container_component
def read(report: dsl.Input[dsl.Artifact], out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image=IMAGE,
        command=[
            "sh",
            "-c",
            'mkdir -p "$(dirname "$1")"; test -s "$0"; printf "%s %s" "$(basename "$2")" "$(basename "$0")" > "$1"',
        ],
        args=[report.path, out, report.uri],
    )


@dsl.container_component
def plain():
    return dsl.ContainerSpec(image=IMAGE, command=["true"])


@dsl.pipeline(name="containers")
def containers(image: str = IMAGE):
    done = shell(text="hi there", number=3, flags=[1, "b"], table={"k": True})
    expect(got=done.outputs["out"], want='hi there|3|[1,"b"]|{"k":true}|p-hi there|absent')
    expect(got=f"{done.outputs['count']}", want="42")
    seen = read(report=done.outputs["report"])
    expect(got=seen.output, want="report report")
    task = plain()
    if hasattr(task, "set_container_image"):  # kfp 2.7 has it not
        task.set_container_image(image)
    noted = shell(text="x", number=-1, flags=[], table={}, note="n", prefix="q").set_env_variable("A", "b")
    expect(got=noted.outputs["out"], want="x|-1|[]|{}|q-x|--note")


PIPELINES = {"containers": (containers, {})}
