"""The command line says what it can do, and refuses what it cannot, before anything is touched."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proa.__main__ import main, make_parser
from proa.cli import VERBS
from proa.cli.status import describe_node, describe_settings, settings_lines
from proa.cli.terminal import format_bytes, format_table
from proa.cli.up import ready_line, why_not
from proa.home import Home

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_its_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "--home DIR" in told
    assert len(told.splitlines()) > 8


@pytest.mark.parametrize("verb", ["images", "models", "pipelines", "recurring", "runs", "token"])
def test_every_action_of_a_verb_explains_itself_and_takes_a_home(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = make_parser([verb])._subparsers._group_actions[0].choices[verb]  # type: ignore[union-attr,index]
    actions = [*parser._subparsers._group_actions[0].choices]
    for action in actions:
        with pytest.raises(SystemExit) as ended:
            main([verb, action, "--help"])
        assert ended.value.code == 0
        told = capsys.readouterr().out
        assert f"usage: proa {verb} {action}" in told
        assert "--home DIR" in told
    assert len(actions) > 2


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_in_the_docs(verb: str) -> None:
    docs = (ROOT / "docs" / "command-line.md").read_text()
    section = re.search(rf"(?ms)^## proa {verb}\b(.*?)(?=^## |\Z)", docs)
    assert section, f"docs/command-line.md has no section on `proa {verb}`"
    parser = make_parser([verb])._subparsers._group_actions[0].choices[verb]  # type: ignore[union-attr,index]
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    options = {option for action in shown for option in action.option_strings if option.startswith("--")}
    assert not {o for o in options - {"--help", "--home"} if o not in section[1]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "usage"),
        (["fly"], "invalid choice"),
        (["up", "--port", "70000"], "a port is a number"),
        (["up", "--listen", "everywhere"], "an IP address"),
        (["up", "--nodes", "33"], "from 1 to 32 nodes"),
        (["up", "--node-monitor-grace-period", "soon"], "a time from 2s"),
        (["nodes", "explode"], "invalid choice"),
        (["images", "tag", "app"], "required: NAME"),
        (["up", "--fast"], "unrecognized arguments"),
        (
            ["up", "--without", "scheduler,node"],
            "--without node: only controllers, scheduler, pipelines",
        ),
        (["apiserver", "--store", "log", "--pki", "/none"], "a log is one server's alone"),
        (
            ["apiserver", "--store", "etcd://a", "--pki", "/none", "--listen", "me"],
            "--listen me: an IP address",
        ),
        (["up", "--store", "file"], "--store file: `log`, or an etcd"),
        (["controllers", "--controllers", "*,-sheep"], "there is no -sheep"),
        (["controllers", "--cluster-signing-cert-file", "ca.crt"], "go together"),
        (["scheduler", "--renew-deadline", "15"], "leaseDuration must be greater"),
        (["scheduler", "--port", "-2"], "or -1 for none"),
        (["pipelines", "serve", "--health-port", "-2"], "--health-port -2: a port is a number"),
        (["pipelines", "--kubeconfig", "else", "serve"], "--database FILE or"),
        (["pipelines", "serve", "--database", "d", "--listen", "everywhere"], "an IP address is needed"),
    ],
    ids=[
        "nothing",
        "unknown verb",
        "port out of range",
        "not an address",
        "too many nodes",
        "no time",
        "no action on nodes",
        "no new name",
        "unknown option",
        "a part that is no other process",
        "a store that cannot be shared",
        "not an address to serve on",
        "not a store",
        "unknown controller",
        "a certificate without its key",
        "timing that cannot be kept",
        "no port for health",
        "no port for health of pipelines",
        "pipelines with a database that is not told",
        "pipelines at no address",
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert code == 2
    told = capsys.readouterr()
    assert words in told.out + told.err


def test_verbs_without_a_cluster_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(tmp_path / "none")
    assert main(["kubeconfig", "--home", home]) == 1
    assert "proa up" in capsys.readouterr().err
    assert main(["status", "--home", home]) == 1
    assert "proa up" in capsys.readouterr().out
    assert main(["down", "--home", home]) == 0
    assert main(["reset", "--home", home]) == 0
    assert main(["images", "ls", "--home", home]) == 1
    assert "is no home" in capsys.readouterr().err
    assert not Path(home).exists()


@pytest.mark.parametrize("words", [["--home", "{}", "kubeconfig"], ["--home={}", "kubeconfig"]])
def test_a_home_may_come_before_the_verb(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(tmp_path / "none")
    assert main([word.format(home) for word in words]) == 1
    assert home in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["status", "down", "reset", "kubeconfig", "up"])
def test_a_home_that_cannot_be_is_told_in_a_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = [verb, "--home", str(tmp_path / "file" / "home")]
    code = main([*arguments, *(["--detach"] if verb == "up" else [])])
    told = capsys.readouterr()
    assert code == (0 if verb in ("down", "reset") else 1)
    assert len((told.out + told.err).splitlines()) <= 2
    if verb == "up":
        assert told.err == f"proa up: {tmp_path}/file/home: Not a directory\n"


def test_a_home_that_is_a_file_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["up", "--home", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"proa up: {tmp_path}/file: Not a directory\n"


def test_what_a_running_cluster_is_asked_to_be_and_is_not_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path)
    home.settings.write_text(
        '{"id": "a", "port": 7000, "listen": "127.0.0.1", "store": "", "encryption": ""}'
    )
    home.pid_file.write_text(
        '{"pid": 1, "ready": true, "startSeconds": 0.5, "server": "https://127.0.0.1:7000"}'
    )
    lock = home.lock()
    try:
        same = ["--port", "7000", "--store", "log", "--encryption-config", "", "--audit-policy", ""]
        assert main(["up", "--detach", "--home", str(tmp_path), *same]) == 0
        assert capsys.readouterr().out.startswith("already running: ")
        other = ["--port", "7001", "--store", "etcd://a"]
        assert main(["up", "--detach", "--home", str(tmp_path), *other]) == 1
        assert "needs another start: --port 7001 --store etcd://a" in capsys.readouterr().err
    finally:
        os.close(lock)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["12:00 INFO store: opened", "proa up: no room"], "no room"),
        (["Traceback"], "the server did not get ready:\n  Traceback\nIts log: /h/server.log"),
        ([], "the server did not get ready:\n  (it said nothing)\nIts log: /h/server.log"),
    ],
    ids=["refused", "failed", "silent"],
)
def test_a_detached_start_that_fails_says_why(words: list[str], told: str) -> None:
    assert why_not(words, Path("/h/server.log"), "proa up: ") == told


@pytest.mark.parametrize(
    ("kept", "lines"),
    [
        ({}, ["store: log, 3 B; not encrypted at rest"]),
        ({"encryption": "/e.yaml"}, ["store: log, 3 B; encrypted as /e.yaml says"]),
        ({"store": "etcd://a/b"}, ["store: etcd://a/b; not encrypted at rest"]),
        (
            {"audit_policy": "default", "audit_log": "/a.log"},
            ["store: log, 3 B; not encrypted at rest", "audit: default, to /a.log"],
        ),
    ],
    ids=["log", "encrypted", "etcd", "audited"],
)
def test_status_says_where_objects_are(kept: dict[str, str], lines: list[str], tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.settings.write_text(json.dumps({"id": "a", "port": 1, **kept}))
    home.store.mkdir()
    (home.store / "1.log").write_bytes(b"abc")
    assert settings_lines(describe_settings(home)) == lines


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        ([{"type": "Ready", "status": "True"}], (True, "True")),
        ([{"type": "Ready", "status": "Unknown"}], (False, "Unknown")),
        ([], (False, "Unknown")),
    ],
    ids=["ready", "silent", "new"],
)
def test_status_shows_a_node_as_the_cluster_sees_it(
    conditions: list[dict[str, str]], shown: tuple[bool, str]
) -> None:
    node = describe_node({"metadata": {"name": "proa-1"}, "status": {"conditions": conditions}})
    assert (node["ready"], node["condition"]) == shown


def test_reset_removes_nothing_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["reset", "--yes", "--home", str(tmp_path)]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_help_imports_nothing_that_costs() -> None:
    script = "import sys, proa.__main__ as m; m.make_parser(['--help']); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"asyncio", "ssl", "cryptography", "yaml", "numpy"} & set(loaded)


def test_a_line_that_names_the_kubeconfig_can_be_pasted() -> None:
    server = {"startSeconds": 0.5, "server": "https://127.0.0.1:1"}
    assert ready_line(Home(Path("/a b")), server).endswith("  KUBECONFIG='/a b/kubeconfig'")


def test_figures_are_printed_for_people() -> None:
    assert [format_bytes(n) for n in (12, 34_100_000, 5e12)] == ["12 B", "34.1 MB", "5000.0 GB"]
    assert format_table([("A", "LONG"), ("wide", "x")]) == "A      LONG\nwide   x"


@pytest.mark.parametrize("moment", ["import_module", "run"])
def test_an_interrupt_at_any_moment_is_told_in_a_word(
    moment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    owner = "importlib" if moment == "import_module" else "proa.cli.status"
    monkeypatch.setattr(f"{owner}.{moment}", interrupted)
    assert main(["status"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
