"""What instructions make of an image's configuration."""

from __future__ import annotations

import pytest

from proa.builder import image_config
from proa.builder.arguments import Arguments
from proa.builder.build import needed_stages
from proa.builder.dockerfile.instructions import Arg
from proa.builder.dockerfile.stages import parse

EMPTY = image_config.empty("linux/arm64/v8")


def test_scratch_begins_with_its_platform_and_a_path() -> None:
    assert (EMPTY["os"], EMPTY["architecture"], EMPTY["variant"]) == ("linux", "arm64", "v8")
    assert image_config.environment(EMPTY) == {"PATH": image_config.DEFAULT_PATH}


def test_what_a_base_hands_on_is_no_trigger_and_its_history_stays() -> None:
    base = {"architecture": "amd64", "os": "linux", "created": "then", "rootfs": {}, "history": [{"created_by": "x"}],
            "config": {"Env": ["A=1"], "OnBuild": ["RUN x"], "Cmd": None}}  # fmt: skip
    found = image_config.based_on(base)
    assert found["config"] == {"Env": [f"PATH={image_config.DEFAULT_PATH}", "A=1"]}
    assert found["history"] == [{"created_by": "x"}]
    assert "created" not in found


def test_variables_are_set_in_their_place() -> None:
    config = image_config.with_environment(EMPTY, [("A", "1"), ("B", "x=y")])
    config = image_config.with_environment(config, [("A", "2")])
    assert image_config.get(config, "Env")[1:] == ["A=2", "B=x=y"]
    assert image_config.get(EMPTY, "Env") == [f"PATH={image_config.DEFAULT_PATH}"]


def test_an_entrypoint_takes_away_the_command_of_the_base_and_keeps_its_own() -> None:
    config = image_config.with_command(EMPTY, ["a"], is_shell=True)
    assert image_config.get(config, "Cmd") == ["/bin/sh", "-c", "a"]
    words = {"is_shell": False, "keep_command": False}
    assert image_config.get(image_config.with_entrypoint(config, ["e"], **words), "Cmd") is None
    words["keep_command"] = True
    assert image_config.get(image_config.with_entrypoint(config, ["e"], **words), "Cmd") == [
        "/bin/sh",
        "-c",
        "a",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["80"], ["80/tcp"]),
        (["80/TCP", "53/udp"], ["80/tcp", "53/udp"]),
        (["8000-8002"], ["8000/tcp", "8001/tcp", "8002/tcp"]),
    ],
)
def test_ports_are_written_out(words: list[str], expected: list[str]) -> None:
    assert image_config.parse_ports(words) == expected


@pytest.mark.parametrize("word", ["x", "80/icmp", "70000", "9-1", "1-x"])
def test_what_is_no_port_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        image_config.parse_ports([word])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("/a", "b", "/a/b"), ("a", "../c", "/c"), ("/a", "/b/", "/b"), ("", "", "/")],
)
def test_a_working_directory_is_relative_to_the_last(first: str, second: str, expected: str) -> None:
    config = image_config.setting(EMPTY, "WorkingDir", image_config.working_directory(EMPTY, first))
    assert image_config.working_directory(config, second) == expected


def test_arguments_come_from_the_command_line_then_their_default_then_before_the_stages() -> None:
    dockerfile = parse("ARG A=1\nARG B=${A}2\nARG C\nFROM x\n")
    given = Arguments({"A": "9", "HTTP_PROXY": "p", "LOST": ""}, "linux/amd64", "linux/arm64/v8", "")
    for arg in dockerfile.arguments:
        assert isinstance(arg, Arg)
        given.name_before_stages(arg, "\\")
    assert given.before_stages()["B"] == "92"
    assert given.value("A", "5") == "9"
    assert given.value("B", None) == "92"
    assert given.value("B", "5") == "5"
    assert given.value("C", None) is None
    assert (given.value("TARGETARCH", None), given.value("BUILDVARIANT", None)) == ("amd64", "v8")
    assert given.proxies() == {"HTTP_PROXY": "p"}
    assert given.unused() == ["LOST"]


def test_only_the_stages_that_the_target_is_made_of_are_built() -> None:
    dockerfile = parse(
        "ARG X=a\nFROM s AS a\nFROM s AS b\nFROM ${X} AS c\nFROM s AS d\n"
        "RUN --mount=from=b,target=/b x\nFROM s\nCOPY --from=2 x y\nCOPY --from=d x y\nFROM s AS last\n"
    )
    found = needed_stages(dockerfile, dockerfile.target("4"), {"X": "a"})
    assert [stage.name for stage in found] == ["a", "b", "c", "d", "4"]
    assert [stage.name for stage in needed_stages(dockerfile, dockerfile.target(""), {})] == ["last"]


@pytest.mark.parametrize(
    "config",
    [
        {"config": []},
        {"config": {"Env": "A=1"}},
        {"config": {"OnBuild": [1]}},
        {"config": {"User": 0}},
        {"history": {}},
    ],
    ids=str,
)
def test_a_hostile_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(image_config.BadConfig):
        image_config.check(config)
    image_config.check({"config": {"Env": None, "Cmd": ["x"], "Labels": {}}, "history": None})
