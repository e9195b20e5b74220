"""Compiled pipelines are read in every form that they are sent in, as protobuf's JSON mapping reads them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import Any

import orjson
import pytest

from proa.ml.pipelines.ir.document import Package, package_of, read_package
from proa.ml.pipelines.ir.problems import InvalidPipeline

HELLO = """
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions:
      parameters:
        text: {parameterType: STRING}
deploymentSpec:
  executors:
    exec-say:
      container: {image: "python:3.11", command: [echo], args: ["{{$.inputs.parameters['text']}}"]}
pipelineInfo: {name: hello}
root:
  dag:
    tasks:
      say:
        {componentRef: {name: comp-say}, inputs: {parameters: {text: {runtimeValue: {constant: hi}}}},
         taskInfo: {name: say}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""
PLATFORM = """
platforms:
  kubernetes:
    deploymentSpec:
      executors:
        exec-say:
          nodeSelector: {labels: {disk: ssd}}
"""
LAUGHS = "a0: &a0 [x]\n" + "\n".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))
CONTAINER = "deploymentSpec.executors[exec-say].container"
KUBERNETES = "platforms[kubernetes].deploymentSpec.executors[exec-say]"
INPUT = "components[comp-say].inputDefinitions.parameters[text]"


def hello() -> dict[str, Any]:
    return read_package(HELLO).pipeline_spec


def test_one_and_two_documents_of_yaml_and_json_are_the_same_pipeline() -> None:
    both = read_package(f"{HELLO}---{PLATFORM}")
    assert both.pipeline_spec == hello()
    assert both.platform_spec == read_package(f"---\n{PLATFORM}---\n{HELLO}\n---\n").platform_spec
    assert read_package(orjson.dumps(hello())) == Package(hello())
    assert package_of(both.as_document()) == both
    assert read_package(orjson.dumps(both.as_document())) == both
    assert package_of(Package(hello()).as_document()) == Package(hello())


def zipped(name: str, text: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return data.getvalue()


def tarred(*files: tuple[str, str]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zipped("pipeline.yaml", HELLO),
        zipped("any.yml", HELLO),
        tarred(("readme.txt", "x"), ("pipeline.yaml", HELLO)),
        tarred(("first.yaml", HELLO), ("second.yaml", "x")),
    ],
    ids=["zip", "zip, another name", "tar.gz", "tar.gz, the first file"],
)
def test_packages_hold_a_pipeline(data: bytes) -> None:
    assert read_package(data).pipeline_spec == hello()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (zipped("pipeline.txt", HELLO), "Expecting a pipeline.yaml file inside the zip. Got: pipeline.txt"),
        (tarred(("a.sh", "x")), "Expecting a pipeline.yaml file inside the tarball. Got: a.sh"),
        (tarred(), "Empty tarball file"),
        (b"PK\x03\x04 and no more", "Not a valid zip file"),
        (b"\x1f\x8b and no more", "Not a valid tarball file"),
        (zipped("pipeline.yaml", "x" * 40_000_000), "File size too large"),
        (b"x" * 40_000_000, "File size too large"),
        ("x" * 9_000_000, "at most 8388608, or send the pipeline as JSON"),
        (b"\xff\xfe\x00", "Unexpected pipeline file format"),
        ("", "no pipeline spec is provided"),
        (PLATFORM, "no pipeline spec is provided"),
        (f"{HELLO}---\n{HELLO}", "multiple pipeline specs provided"),
        (f"{HELLO}---{PLATFORM}---{PLATFORM}", "multiple platform specs provided"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow", "pipelines of version 1"),
        ("- a\n- b", "unknown template format"),
        ("a: [", "yaml: line"),
        ("a: [" + "b, " * 1_000_000 + "]", "too many keys and values"),
        ("a: 1\na: 2", 'mapping key "a" already defined'),
        ("1: 2", "a key is not a string"),
        ("{'a': !!python/object:os.system {}}", "yaml"),
        ("[" * 100_000, "max depth"),
        ("{" * 100_000, "max depth"),
        ("a: &a [*a]", "contains itself"),
        (LAUGHS, "alias"),
    ],
    ids=["zip without one", "tar without one", "empty tar", "no zip", "no tar", "large in a zip", "large", "much YAML",
         "binary", "nothing",
         "platform alone", "two", "two platforms", "version 1", "a list", "no YAML", "many values", "a key twice",
         "a key of another type", "a tag", "deep lists", "deep maps", "a circle", "laughs"],
)  # fmt: skip
def test_what_is_no_pipeline_says_why(data: bytes | str, why: str) -> None:
    with pytest.raises(InvalidPipeline, match=why):
        read_package(data)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("executorLabel:", "executorLabels:", 'components[comp-say].executorLabels: unknown field "executorLabels"'),
        ("parameterType: STRING", "parameterType: TEXT", f'{INPUT}.parameterType: "TEXT" is none of'),
        ("command: [echo]", "command: echo", f"{CONTAINER}.command: expected a list, got a string"),
        ("command: [echo]", "command: [1]", f"{CONTAINER}.command[0]: expected a string, got a number"),
        ("{name: say}", "{name: say}, retryPolicy: {maxRetryCount: 1.5}", "expected an integer (int32), got 1.5"),
        ("{name: say}", "{name: say}, retryPolicy: {backoffDuration: 1m}", 'such as "30s", got "1m"'),
        ("{name: say}", "{name: say}, cachingOptions: {enableCache: 1}", "enableCache: expected true or false"),
        ("constant: hi", "constant: hi, constantValue: {stringValue: hi}", "runtimeValue: only one of"),
        ("constant: hi", "constant: .inf", "constant: expected what JSON can say"),
        ("schemaVersion: 2.1.0", "schemaVersion: 2.1", "schemaVersion: expected a string, got a number"),
        ("disk: ssd", "disk: 1", f"{KUBERNETES}.nodeSelector.labels[disk]: expected a string"),
        ("nodeSelector", "nodeSelectors", f'{KUBERNETES}.nodeSelectors: unknown field "nodeSelectors"'),
    ],
)  # fmt: skip
def test_fields_are_known_and_of_their_types(old: str, new: str, path: str) -> None:
    text = f"{HELLO}---{PLATFORM}"
    assert old in text
    with pytest.raises(InvalidPipeline) as caught:
        read_package(text.replace(old, new, 1))
    assert path in str(caught.value)


def test_all_problems_are_told_at_once_up_to_a_limit() -> None:
    with pytest.raises(InvalidPipeline) as caught:
        read_package(HELLO.replace("executorLabel", "label").replace("sdkVersion", "version"))
    assert [problem.path for problem in caught.value.problems] == ["components[comp-say].label", "version"]
    with pytest.raises(InvalidPipeline, match="more than 50 problems"):
        package_of({f"field{i}": 1 for i in range(1000)})


def test_fields_have_two_names_and_keys_of_maps_one() -> None:
    text = HELLO.replace("inputDefinitions", "input_definitions").replace("parameterType", "parameter_type")
    text = text.replace("pipelineInfo", "pipeline_info").replace("text:", "my_text:")
    parameters = read_package(text).pipeline_spec["components"]["comp-say"]["inputDefinitions"]["parameters"]
    assert parameters == {"my_text": {"parameterType": "STRING"}}
    with pytest.raises(InvalidPipeline, match='duplicate field "pipelineInfo"'):
        read_package(f"{HELLO}pipeline_info: {{name: other}}\n")


def test_scalars_are_what_upstreams_yaml_reads() -> None:
    words = "{a: yes, b: on, c: 2024-01-01, d: '1:30', e: 12:30:45, f: 0x1f, g: 1e3, h: ~, i: 0o17, j: -5, k: .5, l: n}"
    text = HELLO.replace("constant: hi", f"constant: {words}")
    task = read_package(text).pipeline_spec["root"]["dag"]["tasks"]["say"]
    assert task["inputs"]["parameters"]["text"]["runtimeValue"]["constant"] == {
        "a": "yes", "b": "on", "c": "2024-01-01", "d": "1:30", "e": "12:30:45", "f": 31, "g": 1000.0, "h": None,
        "i": 15, "j": -5, "k": 0.5, "l": "n",
    }  # fmt: skip


def test_enums_and_numbers_come_in_protobufs_other_forms() -> None:
    text = HELLO.replace("parameterType: STRING", "type: 3").replace(
        "taskInfo", "retryPolicy: {maxRetryCount: '3'}, taskInfo"
    )
    spec = read_package(text).pipeline_spec
    assert spec["components"]["comp-say"]["inputDefinitions"]["parameters"]["text"] == {"type": "STRING"}
    assert spec["root"]["dag"]["tasks"]["say"]["retryPolicy"] == {"maxRetryCount": 3}


def test_nulls_are_fields_that_are_not_set() -> None:
    spec = read_package(HELLO.replace("sdkVersion: kfp-2.17.0", "sdkVersion: null")).pipeline_spec
    assert "sdkVersion" not in spec


def test_the_deployments_type_url_is_left_out() -> None:
    text = HELLO.replace("deploymentSpec:", "deploymentSpec:\n  '@type': type.googleapis.com/x")
    assert read_package(text).pipeline_spec == hello()
