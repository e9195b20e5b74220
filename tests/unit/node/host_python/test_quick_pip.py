"""pip in `proa.local/python`: what is there is answered at once, and only what pip itself would call satisfied."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import packaging.requirements
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.node.host_python.environment import SITE, TARGET, make_environment, make_path
from proa.node.host_python.site.pip.hand_over import _kept_options, _pin
from proa.node.host_python.site.pip.installed import Installed
from proa.node.host_python.site.pip.quick_answer import Wanted, find_answer
from proa.node.host_python.site.pip.requirements import Requirement, Unusual, normalize

ACCEPTED = [
    ("a==1.2", "1.2", True),
    ("a==1.2", "1.2.0", True),
    ("a==1.2", "1.2.1", False),
    ("a==1.2.*", "1.2.7", True),
    ("a==1.2.*", "1.20", False),
    ("a!=1.2.*", "1.3", True),
    ("a>=1.10,<2", "1.9", False),
    ("a>=1.10,<2", "1.11", True),
    ("a>=1.0rc1", "1.0", True),
    ("a>=1.0", "1.0rc1", False),
    ("a>=1.0", "1.0.dev3", False),
    ("a~=1.4.2", "1.4.9", True),
    ("a~=1.4.2", "1.5", False),
    ("a (>=1,<3)", "2", True),
    ("a", "0.1", True),
    ("a==1!2.0", "2.0", False),
    ("a==1.0+cpu", "1.0+gpu", False),
    ("a==1.0", "1.0+cpu", True),
]


@pytest.mark.parametrize(("text", "version", "expected"), ACCEPTED)
def test_versions_are_held_against_specifiers_as_pep_440_says(
    text: str, version: str, expected: bool
) -> None:
    assert Requirement(text).accepts(version) is expected


@pytest.mark.parametrize(("text", "version", "expected"), ACCEPTED)
def test_the_reference_agrees(text: str, version: str, expected: bool) -> None:
    assert packaging.requirements.Requirement(text).specifier.contains(version, prereleases=True) is expected


VERSIONS = st.from_regex(
    r"(0|[1-9])(\.(0|[1-9][0-9]?)){0,2}((a|b|rc)[0-3])?(\.post[0-3])?(\.dev[0-3])?(\+local)?", fullmatch=True
)


@given(VERSIONS, st.sampled_from(["==", "!=", "<=", ">=", "<", ">", "~="]), VERSIONS)
def test_no_answer_differs_from_the_reference(version: str, operator: str, wanted: str) -> None:
    try:
        reference = packaging.requirements.Requirement(f"a{operator}{wanted}").specifier
        expected = reference.contains(version, prereleases=True)
    except packaging.requirements.InvalidRequirement:
        return
    try:
        found = Requirement(f"a{operator}{wanted}").accepts(version)
    except Unusual:
        return

    assert found == expected


MARKERS = [
    ('a; python_version<"3.9"', False),
    ("a; python_version >= '3.9' and sys_platform == 'linux'", True),
    ("a; sys_platform == 'win32' or os_name == 'posix'", True),
    ("a; extra == 'gpu'", False),
    ("a; platform_system in 'Linux Darwin'", True),
    ("a; implementation_name != 'pypy'", True),
]


@pytest.mark.parametrize(("text", "expected"), MARKERS)
def test_markers_are_judged(text: str, expected: bool) -> None:
    assert Requirement(text).applies() is expected


@pytest.mark.parametrize(
    "text",
    [
        "a[extra]",
        "a @ https://host/a.whl",
        "./a",
        "git+https://host/a",
        "a===1",
        "a==1.x",
        "",
        "a>=1.*",
        "-a",
    ],
)
def test_what_is_not_common_is_left_to_pip(text: str) -> None:
    with pytest.raises(Unusual):
        Requirement(text)


def install(folder: Path, name: str, version: str, *needs: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    (info / "METADATA").write_text("\n".join(lines) + "\n\nRequires-Dist: not-a-header\n")


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    install(
        tmp_path / "first", "kfp", "2.17.0", "protobuf>=6", 'old; python_version<"3"', "gone; extra == 'all'"
    )
    install(tmp_path / "second", "Kfp", "1.8.0")
    install(tmp_path / "second", "protobuf", "6.30.1")
    install(tmp_path / "second", "typing_extensions", "4.12.0")
    install(tmp_path / "second", "broken", "1.0", "protobuf<6")
    install(tmp_path / "second", "left_alone", "1.0", "nowhere")
    install(tmp_path / "second", "a", "1.0", "b")
    install(tmp_path / "second", "b", "1.0", "a")
    return Installed([str(tmp_path / "first"), str(tmp_path / "second"), str(tmp_path / "absent")])


ANSWERS = [
    (["kfp==2.17.0", "--no-deps", 'typing-extensions>=3.7.4,<5; python_version<"3.9"'], 1, 0),
    (["--quiet", "--index-url", "https://mirror/simple", "kfp==2.7.0", "--no-deps"], 1, 1),
    (["kfp", "typing.extensions>=4"], 2, 0),
    (["a"], 1, 0),
    (["kfp==1.8.0", "--no-deps"], None, 0),
    (["kfp>=2.20", "--no-deps"], None, 0),
    (["protobuf==6.30.0"], None, 0),
    (["broken"], None, 0),
    (["broken", "--no-deps"], 1, 0),
    (["left-alone"], None, 0),
    (["absent"], None, 0),
]


@pytest.mark.parametrize(("arguments", "satisfied", "notes"), ANSWERS)
def test_only_what_is_all_there_is_answered(
    installed: Installed, arguments: list[str], satisfied: int | None, notes: int
) -> None:
    answer = find_answer(Wanted(arguments), installed)

    assert (None if answer is None else (len(answer.satisfied), len(answer.notes))) == (
        None if satisfied is None else (satisfied, notes)
    )


@pytest.mark.parametrize(
    "arguments", [["-U", "kfp"], ["-r", "file"], ["-e", "."], ["--target", "x", "kfp"], []]
)
def test_options_that_change_what_is_installed_are_left_to_pip(arguments: list[str]) -> None:
    with pytest.raises(Unusual):
        Wanted(arguments)


def test_names_are_compared_as_pep_503_says() -> None:
    assert normalize("Typing._-Extensions") == "typing-extensions"


def run_pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": SITE}
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_real_pip_does_all_else() -> None:
    found = run_pip("--version")

    assert found.returncode == 0
    assert found.stdout.startswith("pip ")
    assert "host_python" not in found.stdout


def test_whoever_imports_pip_gets_the_real_one() -> None:
    program = (
        "import pip, pip._internal.cli.main as m; print(pip.__version__, callable(pip.main), m.__file__)"
    )

    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": SITE},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "True" in found.stdout
    assert "host_python" not in found.stdout


def test_an_inner_venv_sees_the_packages_of_the_image_where_it_asks_for_them(tmp_path: Path) -> None:
    install(tmp_path / "image", "kfp", "2.17.0")
    (tmp_path / "image" / "kfp.py").write_text("answer = 42\n")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(tmp_path / "venv")],
        check=True,
    )
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": SITE,
        "PROA_PYTHON_SITE": str(tmp_path / "image"),
    }

    for arguments in (
        ["-m", "pip", "install", "--quiet", "kfp==2.7.0", "--no-deps"],
        ["-c", "import kfp; kfp.answer"],
    ):
        found = subprocess.run(
            [python, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr


def test_what_is_installed_is_said_as_pip_says_it() -> None:
    found = run_pip("install", "pytest", "--no-deps")

    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("Requirement already satisfied: pytest in ")


PINS = [
    ({"metadata": {"name": "a", "version": "1.0"}, "download_info": {"url": "https://i/a.whl"}}, "a==1.0"),
    (
        {
            "metadata": {"name": "a", "version": "1.0"},
            "is_direct": True,
            "download_info": {"url": "https://i/a.whl"},
        },
        "a @ https://i/a.whl",
    ),
    (
        {
            "metadata": {"name": "a", "version": "1.0"},
            "is_direct": True,
            "download_info": {"url": "https://i/a", "vcs_info": {"vcs": "git", "commit_id": "f00"}},
        },
        "a @ git+https://i/a@f00",
    ),
]


@pytest.mark.parametrize(("item", "expected"), PINS)
def test_what_pip_chose_is_installed_exactly(item: dict[str, object], expected: str) -> None:
    assert _pin(item) == expected


def test_options_of_where_from_are_kept_and_those_of_what_are_not() -> None:
    given = [
        "--quiet",
        "-i",
        "https://m/simple",
        "-r",
        "file.txt",
        "-U",
        "a",
        "--pre",
        "--only-binary=:all:",
        "b==1",
    ]

    assert _kept_options(given) == ["--quiet", "-i", "https://m/simple", "--pre", "--only-binary=:all:"]


def test_settings_of_the_machine_reach_containers_and_passwords_do_not(tmp_path: Path) -> None:
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror/simple\ntrusted-host = mirror\ncache-dir = /home/me/.cache\n"
        "[install]\nextra-index-url =\n    https://me:secret@private/simple\n"
    )

    found = dict(make_environment({"HOME": str(tmp_path), "PIP_TIMEOUT": "9", "PIP_TARGET": "/home/me/x"}))

    assert found["PIP_INDEX_URL"] == "https://mirror/simple"
    assert (found["PIP_TRUSTED_HOST"], found["PIP_TIMEOUT"]) == ("mirror", "9")
    assert "secret" not in str(found)
    assert not {"PIP_CACHE_DIR", "PIP_TARGET", "PIP_EXTRA_INDEX_URL"} & {*found}


def test_the_environment_wins_over_the_users_file(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file/simple\n")

    found = dict(
        make_environment(
            {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_INDEX_URL": "https://env/simple"}
        )
    )

    assert found["PIP_INDEX_URL"] == "https://env/simple"


def test_what_a_container_installs_comes_first_on_its_paths() -> None:
    assert dict(make_environment({}))["PYTHONPATH"].split(":") == [TARGET, SITE]
    assert make_path("/usr/bin").startswith(f"{TARGET}/bin:")
    assert os.access(make_path("/usr/bin").split(":")[1] + "/pip", os.X_OK)
