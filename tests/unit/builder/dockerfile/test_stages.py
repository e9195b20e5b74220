"""Whole Dockerfiles: statements, flags, here-documents, stages, and what is refused with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.instructions import Command, Copy, Healthcheck, Listed, OnBuild, Pairs, Run
from proa.builder.dockerfile.stages import parse, read_trigger


def only(text: str) -> object:
    """Return the one instruction behind a FROM."""
    (instruction,) = parse(f"FROM a\n{text}").stages[0].instructions
    return instruction


def test_lines_are_joined_and_comments_and_blank_lines_between_them_go() -> None:
    run = only("RUN a \\\n  # why\n\n # why too\n  && b \\ \n && c\n")
    assert isinstance(run, Run)
    assert run.words == ("a   && b  && c",)
    assert (run.line, run.statement.end_line) == (2, 7)


def test_the_escape_directive_changes_what_joins_lines() -> None:
    dockerfile = parse("# escape=`\nFROM a\nRUN dir C:\\ `\n /b\n")
    (run,) = dockerfile.stages[0].instructions
    assert isinstance(run, Run)
    assert run.words == ("dir C:\\  /b",)
    assert dockerfile.escape == "`"


@pytest.mark.parametrize(
    "text", ["\n# escape=`\nFROM a\n", "# note\n# escape=`\nFROM a\n", "FROM a\n# escape=`\n"]
)
def test_a_directive_counts_only_at_the_top(text: str) -> None:
    assert parse(text).escape == "\\"


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm() -> None:
    (stage,) = parse("\ufeff# syntax=docker/dockerfile:1\r\nFROM a\r\nRUN b \\\r\n c\r\n").stages
    assert isinstance(stage.instructions[0], Run)
    assert stage.instructions[0].words == ("b  c",)


@pytest.mark.parametrize(
    ("text", "content", "expand"),
    [
        ("COPY <<EOF /x\na\n\tb\nEOF\n", "a\n\tb\n", True),
        ("COPY <<-EOF /x\n\ta\n\t\tb\n\tEOF\n", "a\nb\n", True),
        ('COPY <<"EOF" /x\n$a\nEOF\n', "$a\n", False),
        ("COPY <<'E O' /x\n#x\n\nE O\n", "#x\n\n", False),
        ("COPY <<EOF /x\nEOF\n", "", True),
    ],
)
def test_a_here_document_is_read_to_its_end(text: str, content: str, expand: bool) -> None:
    copy = only(text)
    assert isinstance(copy, Copy)
    assert (copy.heredocs[0].content, copy.heredocs[0].expand, copy.target) == (content, expand, "/x")


def test_several_here_documents_follow_one_another() -> None:
    run = only("RUN cat <<A <<B 3<<C\n1\nA\n2\nB\n3\nC\n")
    assert isinstance(run, Run)
    assert [(h.name, h.raw) for h in run.heredocs] == [("A", "1\n"), ("B", "2\n"), ("C", "3\n")]


@pytest.mark.parametrize(
    "text", ["RUN echo '<<EOF'", "RUN cat <<<word", 'RUN ["a", "<<EOF"]', "RUN x=$((1<<2))"]
)
def test_what_only_looks_like_a_here_document_is_none(text: str) -> None:
    run = only(text)
    assert isinstance(run, Run)
    assert run.heredocs == ()


@pytest.mark.parametrize(
    ("text", "words", "is_shell"),
    [
        ("CMD a  b", ("a  b",), True),
        ('CMD ["a", "b c"]', ("a", "b c"), False),
        ("CMD [a, b]", ("[a, b]",), True),
        ("CMD []", (), False),
        ("CMD ['a']", ("['a']",), True),
    ],
)
def test_a_command_has_shell_or_exec_form(text: str, words: tuple[str, ...], is_shell: bool) -> None:
    command = only(text)
    assert isinstance(command, Command)
    assert (command.words, command.is_shell) == (words, is_shell)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV a=1 b=2", (("a", "1"), ("b", "2"))),
        ("ENV a=\"x y\" b='z' c=q\\ r", (("a", '"x y"'), ("b", "'z'"), ("c", "q\\ r"))),
        ("ENV a some thing", (("a", "some thing"),)),
        ('LABEL "com.x"="y=z"', (('"com.x"', '"y=z"'),)),
        ("ENV a= b=", (("a", ""), ("b", ""))),
    ],
)
def test_names_and_values_are_read(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    instruction = only(text)
    assert isinstance(instruction, Pairs)
    assert instruction.pairs == pairs


def test_flags_are_read_in_any_order() -> None:
    copy = only('COPY --link --chown=a:b --from=x --exclude="*.py c" --exclude=d --chmod=755 e f/')
    assert isinstance(copy, Copy)
    assert (copy.link, copy.owner, copy.source_stage, copy.mode) == (True, "a:b", "x", "755")
    assert (copy.exclude, copy.sources, copy.target) == (("*.py c", "d"), ("e",), "f/")


def test_mounts_are_read_with_their_defaults() -> None:
    run = only(
        "RUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=s --mount=source=a,dst=/b x"
    )
    assert isinstance(run, Run)
    cache, secret, bind = run.mounts
    assert (cache.target, cache.sharing, cache.read_only) == ("/c", "locked", False)
    assert (secret.target, secret.id, secret.read_only) == ("/run/secrets/s", "s", True)
    assert (bind.type, bind.source, bind.target, bind.read_only) == ("bind", "a", "/b", True)


def test_a_health_check_is_as_the_configuration_has_it() -> None:
    check = only("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f x")
    assert isinstance(check, Healthcheck)
    assert check.check == {
        "Test": ["CMD-SHELL", "curl -f x"],
        "Interval": 90_000_000_000,
        "Timeout": 500_000_000,
        "Retries": 3,
    }


def test_a_trigger_keeps_its_here_document() -> None:
    trigger = only("ONBUILD RUN <<EOF\nx\nEOF\n")
    assert isinstance(trigger, OnBuild)
    run = read_trigger(trigger.text, 1)
    assert isinstance(run, Run)
    assert run.heredocs[0].content == "x\n"


def test_lists_are_read_in_either_form() -> None:
    for text in ("VOLUME /a /b", 'VOLUME ["/a", "/b"]'):
        instruction = only(text)
        assert isinstance(instruction, Listed)
        assert instruction.values == ("/a", "/b")


def test_stages_are_found_by_name_and_number_the_last_of_a_name_first() -> None:
    dockerfile = parse("ARG V=1\nFROM a AS One\nFROM b\nFROM c AS one\n")
    assert [stage.name for stage in dockerfile.stages] == ["one", "1", "one"]
    assert dockerfile.target("ONE").index == 2
    found = dockerfile.find_stage("one", before=2)
    assert found is not None
    assert found.index == 0
    assert dockerfile.target("1").index == 1
    assert dockerfile.target("").index == 2


REFUSED = [
    ("FROM a\nCOPPY a b", 2, "unknown instruction: COPPY (did you mean COPY?)"),
    ("RUN a", 1, "no build stage in current context"),
    ("# only a comment", 0, "it has no FROM"),
    ("FROM", 1, "FROM requires at least one argument"),
    ("FROM a b", 1, "FROM requires either one or three arguments"),
    ("FROM a AS 1x", 1, 'invalid name for build stage: "1x"'),
    ("FROM a\nCOPY --form=x a b", 2, "unknown flag: --form (did you mean from?)"),
    ("FROM a\nCOPY a", 2, "COPY requires at least two arguments"),
    ("FROM a\nCOPY --from a b", 2, "missing a value on flag: --from"),
    ("FROM a\nCOPY --from=x --from=y a b", 2, "duplicate flag specified: --from"),
    ("FROM a\nRUN --mount=type=ssh b", 2, "type=ssh is not supported"),
    ("FROM a\nRUN --mount=type=cach,target=/x b", 2, 'unsupported mount type "cach" (did you mean cache?)'),
    ("FROM a\nRUN --mount=type=cache b", 2, "needs target="),
    ("FROM a\nRUN --mount=type=tmpfs,target=/x,id=y b", 2, "unexpected key 'id' for mount type 'tmpfs'"),
    ("FROM a\nRUN --network=wifi b", 2, 'unsupported network mode "wifi"'),
    ("FROM a\nRUN --security=insecure b", 2, "--security=insecure is not supported"),
    ("FROM a\nENV a", 2, "ENV must have two arguments"),
    ("FROM a\nENV a=1 b", 2, "can't find = in 'b'"),
    ("FROM a\nSHELL bash", 2, "SHELL requires the arguments to be in JSON form"),
    ("FROM a\nCMD [1]", 2, "arrays must be comprised of strings only"),
    ("FROM a\n\n\nHEALTHCHECK GET x", 4, 'Unknown type "GET" in HEALTHCHECK (try CMD)'),
    ("FROM a\nHEALTHCHECK --interval=5 CMD x", 2, 'invalid duration "5"'),
    ("FROM a\nONBUILD ONBUILD RUN x", 2, "isn't allowed"),
    ("FROM a\nONBUILD FROM x", 2, "FROM isn't allowed as an ONBUILD trigger"),
    ("FROM a\nRUN <<EOF\nx\n", 2, "unterminated heredoc: no line is EOF"),
    ("FROM a\nADD git@github.com:a/b.git /x", 2, "ADD of a git repository is not supported"),
    ("FROM a\nADD https://github.com/a/b.git#main /x", 2, "ADD of a git repository is not supported"),
    ("# escape=x\nFROM a", 1, "invalid ESCAPE 'x'"),
    ("# escape=`\n# escape=`\nFROM a", 2, "only one escape parser directive can be used"),
]


@pytest.mark.parametrize(("text", "line", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_cannot_be_built_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(DockerfileError) as failure:
        parse(text)
    assert words in str(failure.value)
    assert failure.value.line == line


def test_a_target_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(DockerfileError, match="target stage 'tset' could not be found"):
        parse("FROM a AS test\n").target("tset")


@given(st.text("FROMRUNCOPY abc<<E\n\\=\"'[],$#-", max_size=80))
def test_anything_is_parsed_or_refused(text: str) -> None:
    try:
        parse("FROM a\n" + text)
    except DockerfileError:
        return
