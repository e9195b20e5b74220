"""What `proa build` makes of its command line, before anything is built."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from proa.builder.context import BadContext, find_context
from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.request import BuildFailed, Request
from proa.cli import UsageError
from proa.cli.build import add_arguments, failure_words, make_request, with_source


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nENV A=1\n")
    return tmp_path


def ask(context: Path, *words: str) -> Request:
    """Return the request of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args([*words, str(context)])
    return make_request(options, *find_context(options.context, options.file))


def test_what_is_given_is_what_is_asked_for(
    context: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("https_proxy", "FROM_HERE"):
        monkeypatch.setenv(name, name)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    (tmp_path / "key").write_text("s")
    words = [
        "-t",
        "a",
        "-t",
        "b:1",
        "--build-arg",
        "X=1=2",
        "--build-arg",
        "FROM_HERE",
        "--build-arg",
        "UNSET",
    ]
    words += ["--label", "k=v", "--no-cache", "--target", "", "--secret", f"id=k,src={tmp_path}/key"]
    request = ask(context, *words, "--secret", "id=e,env=FROM_HERE")
    given = dict(request.arguments)
    assert (given["X"], given["FROM_HERE"], given["https_proxy"]) == ("1=2", "FROM_HERE", "https_proxy")
    assert "UNSET" not in given
    assert (request.names, request.labels, request.use_cache) == (("a", "b:1"), {"k": "v"}, False)
    assert request.secrets == {"k": b"s", "e": b"FROM_HERE"}
    assert request.epoch == 7


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-t", "UPPER"], "must be lowercase"),
        (["-t", "a@sha256:" + "0" * 64], "a name with a digest cannot be given"),
        (["--push"], "--push needs a name"),
        (["--platform", "amd64"], "it should be like linux/amd64"),
        (["--build-arg", "=x"], "it should be NAME=VALUE"),
        (["--label", "x"], "it should be NAME=VALUE"),
        (["--secret", "src=x"], "it should be id=NAME"),
        (["--secret", "id=x,src=/nowhere"], "No such file"),
        (["--secret", "id=x,env=NOT_SET_AT_ALL"], "is not set"),
        (["--build-arg", "SOURCE_DATE_EPOCH=now"], "it should be seconds since 1970"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_wrong_usage(context: Path, words: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ask(context, *words)


@pytest.mark.parametrize(
    ("directory", "file", "why"),
    [
        ("https://github.com/a/b.git", "", "has to be a folder of this machine"),
        ("-", "", "has to be a folder of this machine"),
        ("/nowhere", "", "no such folder"),
        ("/etc/passwd", "", "it is no folder"),
        ("/etc", "", "name it with -f FILE"),
    ],
)
def test_a_context_that_cannot_be_is_refused(directory: str, file: str, why: str) -> None:
    with pytest.raises(BadContext, match=why):
        find_context(directory, file)


def test_the_ignore_file_beside_the_dockerfile_comes_first(context: Path) -> None:
    (context / ".dockerignore").write_text("a\n")
    assert find_context(str(context), "")[0].ignore.excludes("a")
    (context / "other").write_text("FROM scratch\n")
    (context / "other.dockerignore").write_text("b\n")
    found, text, path = find_context(str(context), str(context / "other"))
    assert (found.ignore.excludes("a"), found.ignore.excludes("b")) == (False, True)
    assert (text, path) == ("FROM scratch\n", str(context / "other"))


def test_errors_show_the_line_and_what_was_printed_last(context: Path) -> None:
    error = DockerfileError(2, "no")
    assert with_source(error, "FROM a\nBAD x\n") == "Dockerfile:2: no\n    2 | BAD x"
    words = failure_words(BuildFailed("it failed", 2, "one\ntwo"), ask(context))
    assert words.splitlines() == [
        f"{context}/Dockerfile:2: it failed",
        "    2 | ENV A=1",
        "the last that it printed:",
        "      | one",
        "      | two",
    ]
