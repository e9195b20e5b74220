"""`proa build` with real steps, as root and not: what it makes, what it remembers, what it leaves behind."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import UNPRIVILEGED, ProaCommand, run
from support.oci_layouts import Image, read_image

BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.access(path, os.X_OK)), "")
IS_STATIC = bool(BUSYBOX) and b"ld-linux" not in Path(BUSYBOX).read_bytes()[:4096]
pytestmark = [
    pytest.mark.skipif(
        not IS_STATIC, reason="not on this machine: no static busybox: apt install busybox-static"
    ),
    pytest.mark.xdist_group("building"),
]
BASE = """
ARG NAME=world
FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY passwd group /etc/
"""
EVERYTHING = f"""{BASE}
FROM base AS builder
ARG NAME
RUN mkdir -p /out/deep && echo "hello $NAME" > /out/deep/greeting && ln -s deep/greeting /out/g

FROM base AS unused
RUN exit 1

FROM base
ENV A=1 B="two words"
ENV C=${{A}}-${{NOPE:-def}} PATH=/opt/bin:$PATH
LABEL x.y=z "spaced key"="v $A"
WORKDIR /app
WORKDIR sub
COPY src /app/src/
COPY src/a.txt src/sub/b.txt ./
COPY --from=builder /out /app/out
COPY --from=builder /out/deep/greeting renamed
COPY --chown=app:app --chmod=640 src/a.txt /home/app/
COPY --chown=1000 d /data
COPY d/y* /glob/
COPY src/l /linkfile
ADD archive.tgz /unpacked/
RUN rm /bin/vi && rm -r /app/src/sub && echo x > /app/src/new && mkdir /app/src/sub && touch /app/src/sub/q
RUN mkfifo /fifo; ln /app/sub/renamed /hard; chmod 4755 /bin/busybox
USER app
WORKDIR /home/app/w
RUN (echo $HOME $B; pwd; umask) > who
EXPOSE 80 443/udp
VOLUME /data /more
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/echo"]
CMD hello $A
"""
OF_BUILDAH = {"dev", "proc", "run", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf"}
"""What buildah leaves of its mounts."""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a context with files, links that lead out, an archive and a .dockerignore; others may read it."""
    folder = (
        Path("/tmp", f"proa-context-{os.getpid()}")
        if os.getuid() == 0
        else tmp_path_factory.mktemp("context")
    )
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("src/sub", "d/q/skip"):
        (folder / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, folder / "busybox")
    (folder / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n")
    (folder / "group").write_text("root:x:0:\napp:x:1001:\nextra:x:77:app\n")
    for name, text in {
        "src/a.txt": "1",
        "src/sub/b.txt": "2",
        "d/x.log": "3",
        "d/y": "4",
        "d/q/skip/z": "5",
    }.items():
        (folder / name).write_text(text)
    (folder / "src/l").symlink_to("a.txt")
    (folder / "src/out").symlink_to("/etc/passwd")
    (folder / ".dockerignore").write_text("d/*.log\n**/skip\n")
    with tarfile.open(folder / "archive.tgz", "w:gz") as archive:
        archive.add(folder / "src", ".")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def homes() -> Iterator[Path]:
    """Return a folder for homes, which is removed."""
    folder = Path("/tmp", f"proa-builds-{os.getpid()}")
    folder.mkdir(mode=0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def proa(homes: Path) -> ProaCommand:
    """Return the command as who runs the tests, in a home that the module's tests share."""
    return ProaCommand(homes / "own", sys.executable)


@pytest.fixture(scope="module")
def unprivileged(homes: Path, rootless_python: str) -> ProaCommand:
    """Return the command as an ordinary user without subordinate ids."""
    folder = homes / "ordinary"
    folder.mkdir(mode=0o700)
    if os.getuid() != 0:
        return ProaCommand(folder / "home", rootless_python)
    os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    return ProaCommand(folder / "home", rootless_python, UNPRIVILEGED)


@pytest.fixture
def build(context: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that builds a Dockerfile's text in the context."""

    def do(
        proa: ProaCommand, text: str, *options: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        file = context / f"Dockerfile.{tmp_path.name}"
        file.write_text(text)
        try:
            return proa("build", "-f", str(file), *options, str(context), check=check)
        finally:
            file.unlink()

    return do


def stored(proa: ProaCommand, name: str) -> Image:
    """Return a built image."""
    return read_image(proa.home / "images", f"docker.io/library/{name}")


def without_owners(image: Image) -> dict[str, tuple[Any, ...]]:
    """Return an image's files without whom they belong to."""
    return {path: (found[0], found[1], found[4]) for path, found in image.files.items()}


@pytest.mark.skipif(not shutil.which("buildah"), reason="not on this machine: buildah is not installed")
@pytest.mark.skipif(
    os.getuid() != 0, reason="not on this machine: buildah with files of many owners needs root"
)
def test_an_image_is_what_buildah_makes_of_the_same_dockerfile(
    proa: ProaCommand, build: Callable[..., Any], context: Path, tmp_path: Path
) -> None:
    build(proa, EVERYTHING, "-t", "everything:1", "--build-arg", "NAME=proa")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(EVERYTHING)
    buildah = ["buildah", "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")]
    buildah += ["--storage-driver", "vfs"]
    options = [
        "--isolation",
        "chroot",
        "-q",
        "--build-arg",
        "NAME=proa",
        "-t",
        "other",
        "-f",
        str(dockerfile),
    ]
    run([*buildah, "bud", *options, str(context)], timeout=300)
    run([*buildah, "push", "-q", "other", f"oci:{tmp_path}/layout"])
    ours, theirs = stored(proa, "everything:1"), read_image(tmp_path / "layout")
    assert ours.files == {path: found for path, found in theirs.files.items() if path not in OF_BUILDAH}
    configs = [dict(image.config["config"]) for image in (ours, theirs)]
    configs[1]["Labels"].pop("io.buildah.version")
    for config in configs:
        config["Env"] = sorted(config["Env"])
    assert configs[0] == configs[1]


def test_an_ordinary_user_builds_the_same_but_for_owners(
    proa: ProaCommand, unprivileged: ProaCommand, build: Callable[..., Any]
) -> None:
    for command in (proa, unprivileged):
        build(command, EVERYTHING, "-t", "everything:1", "--build-arg", "NAME=proa")
    ours, theirs = stored(unprivileged, "everything:1"), stored(proa, "everything:1")
    assert without_owners(ours) == without_owners(theirs)
    assert ours.config["config"] == theirs.config["config"]
    assert {found[2:4] for found in ours.files.values()} == {(0, 0)} or os.getuid() != 0


def test_what_is_built_again_is_the_same_image_and_only_what_changed_is_built(
    proa: ProaCommand, build: Callable[..., Any]
) -> None:
    text = f"{BASE}RUN echo $((6 * 7))\nARG V\nRUN echo v$V > /v\nCOPY d/y /y\n"
    first = build(proa, text, "-o", "json", "--build-arg", "V=1")
    again = build(proa, text, "-o", "json", "--build-arg", "V=1")
    other = build(proa, text, "-o", "json", "--build-arg", "V=2")
    assert json.loads(first.stdout)["id"] == json.loads(again.stdout)["id"] != json.loads(other.stdout)["id"]
    assert again.stderr.count("CACHED") == 6
    assert "DONE" not in again.stderr
    assert other.stderr.count("CACHED") == 4
    anew = build(proa, text, "-o", "json", "--build-arg", "V=1", "--no-cache")
    assert "CACHED" not in anew.stderr


def test_the_same_sources_and_source_date_epoch_make_the_same_image_in_every_home(
    homes: Path, build: Callable[..., Any]
) -> None:
    text = f"{BASE}WORKDIR /w\nRUN echo hi > a && mkdir b\nCOPY src /src/\n"
    found = set()
    for name in ("one", "two"):
        proa = ProaCommand(homes / name, sys.executable)
        built = build(proa, text, "-o", "json", "--build-arg", "SOURCE_DATE_EPOCH=1000000000")
        found.add(json.loads(built.stdout)["digest"])
    assert len(found) == 1


def test_mounts_are_seen_by_their_step_and_are_in_no_layer(
    proa: ProaCommand, build: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret")
    text = f"""{BASE}
FROM base
RUN --mount=type=cache,target=/cache,id=mine echo 1 >> /cache/n
RUN --mount=type=cache,target=/cache,id=mine cat /cache/n > /n
RUN --mount=type=secret,id=token test $(wc -c < /run/secrets/token) = 6
RUN --mount=type=secret,id=token,env=TOKEN test "${{#TOKEN}}" = 6
RUN --mount=type=bind,source=src,target=/mnt/src cp /mnt/src/a.txt /a
RUN --mount=type=bind,from=base,source=/etc,target=/other test -f /other/passwd
RUN --mount=type=tmpfs,target=/t,size=1m touch /t/x
RUN --network=none ! ping -c 1 -W 1 127.0.0.2
"""
    build(proa, text, "-t", "mounts:1", "--secret", f"id=token,src={tmp_path}/token", "--no-cache")
    image = stored(proa, "mounts:1")
    assert {"n", "a"} <= image.files.keys()
    assert not {"cache", "run", "mnt", "other", "t", "proc", "sys", "dev"} & image.files.keys()
    kept = [path for path in (proa.home / "images").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"s3cret" in path.read_bytes()]


def test_here_documents_are_files_scripts_and_shell_input(
    proa: ProaCommand, build: Callable[..., Any]
) -> None:
    text = f"""{BASE}
ENV WHO=you
COPY <<EOF <<-"RAW" /h/
hello $WHO
EOF
	raw $WHO
	RAW
RUN <<EOF
echo one > /1
echo "$WHO" > /2
EOF
RUN <<EOF
#!/bin/sh -e
echo $0 > /3
EOF
RUN cat <<A > /4 && cat <<B > /5
4
A
5 $WHO
B
RUN test "$(cat /h/EOF /h/RAW /1 /2 /3 /4 /5 | tr '\\n' ' ')" = \\
  'hello you raw $WHO one you /dev/pipes/EOF 4 5 you '
"""
    build(proa, text)


@pytest.fixture
def files_by_http(tmp_path: Path) -> Iterator[str]:
    """Serve file.txt and archive.tgz; return the URL."""
    (tmp_path / "file.txt").write_text("content")
    with tarfile.open(tmp_path / "archive.tgz", "w:gz") as archive:
        archive.add(tmp_path / "file.txt", "inner.txt")
    make = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_triggers_of_the_base_come_first_and_flags_do_what_they_say(
    proa: ProaCommand, build: Callable[..., Any], files_by_http: str
) -> None:
    triggers = "ONBUILD COPY src/a.txt /onbuild/\nONBUILD RUN <<X\necho ran > /onbuild/ran\nX\n"
    build(proa, f"{BASE}{triggers}", "-t", "with-triggers:1")
    checksum = hashlib.sha256(b"content").hexdigest()
    text = f"""ARG FROM=with-triggers:1
FROM ${{FROM}} AS one
ADD --checksum=sha256:{checksum} {files_by_http}/file.txt /dl/
ADD --unpack=true {files_by_http}/archive.tgz /un/
ADD --unpack=false archive.tgz /kept/
COPY --parents src/./sub src/*.txt /p/
COPY --exclude=sub --exclude=out src /e/
COPY --from=with-triggers:1 /bin/busybox /other/
COPY --link --chmod=0755 d/y /l/run
FROM one
ARG TARGETARCH
ARG UNSET
RUN --mount=type=bind,target=/ctx,rw touch /ctx/new && test -n "$TARGETARCH" && test -z "$UNSET"
"""
    build(proa, text, "-t", "flags:1")
    files = stored(proa, "flags:1").files
    wanted = {"onbuild/ran", "dl/file.txt", "un/inner.txt", "kept/archive.tgz", "p/sub/b.txt", "p/src/a.txt",
              "e/a.txt", "other/busybox", "l/run"}  # fmt: skip
    assert wanted <= files.keys()
    assert not {"e/sub", "e/out", "ctx", "new"} & files.keys()
    assert (files["dl/file.txt"][1], files["l/run"][1]) == (0o600, 0o755)
    assert "ONBUILD" not in json.dumps(stored(proa, "flags:1").config["config"])
    wrong = build(
        proa, f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {files_by_http}/file.txt /\n", check=False
    )
    assert "digest mismatch" in wrong.stderr


def test_links_of_a_context_lead_to_nothing_of_this_machine(
    proa: ProaCommand, build: Callable[..., Any]
) -> None:
    missing = build(proa, "FROM scratch\nCOPY src/out /x\n", check=False)
    assert '"src/out" is not there' in missing.stderr
    build(proa, "FROM scratch\nCOPY src /x/\n", "-t", "links:1")
    assert stored(proa, "links:1").files["x/out"][4] == "/etc/passwd"
    outside = Path("/tmp", f"proa-outside-{os.getpid()}")
    build(
        proa,
        f"{BASE}RUN ln -s {outside} /away && ln -s / /top\nCOPY src/a.txt /away\nCOPY d/y /top/y\n",
        "-t",
        "l:2",
    )
    files = stored(proa, "l:2").files
    assert not outside.exists()
    assert {str(outside)[1:], "y"} <= files.keys()


def test_a_step_that_fails_shows_its_line_and_what_it_printed_last(
    proa: ProaCommand, build: Callable[..., Any]
) -> None:
    failed = build(proa, f"{BASE}RUN echo out; echo err >&2; exit 7\n", check=False)
    assert failed.returncode == 1
    line = len(BASE.splitlines()) + 1
    assert f":{line}: process" in failed.stderr
    assert "did not complete successfully: exit code: 7" in failed.stderr
    assert failed.stderr.rstrip().endswith("      | out\n      | err")


def test_the_host_image_and_a_stage_to_come_are_refused(proa: ProaCommand, build: Callable[..., Any]) -> None:
    assert "is this machine itself" in build(proa, "FROM proa.local/python\n", check=False).stderr
    text = "FROM scratch\nCOPY --from=later x y\nFROM scratch AS later\n"
    assert "only stages before this one" in build(proa, text, "--target=0", check=False).stderr


def test_doctor_says_whether_building_works_and_leaves_nothing(
    proa: ProaCommand, unprivileged: ProaCommand
) -> None:
    for command in (proa, unprivileged):
        found = json.loads(command("doctor", "-o", "json", check=False).stdout)["findings"]
        (building,) = (finding for finding in found if finding["name"] == "build")
        assert building["found"].startswith("works")
        assert not list(command.home.parent.rglob(".probe-*"))


def test_a_build_that_is_interrupted_leaves_no_process_and_no_folder(
    proa: ProaCommand, context: Path
) -> None:
    (context / "Dockerfile.slow").write_text(f"{BASE}RUN echo begun; sleep 4321\n")
    command = proa.command("build", "--no-cache", "-f", str(context / "Dockerfile.slow"), str(context))
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stderr is not None
            assert any(" begun" in line and " RUN " not in line for line in process.stderr)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                process.kill()
            process.stderr.read()  # ends when all who have it open have ended
            assert process.wait() == code
        wait_until(
            lambda: not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x004321" in read(p)]
        )
    assert proa("build", "-q", "-f", "/dev/null", str(context), check=False).returncode == 1
    proa("build", "-q", "-f", write(context / "Dockerfile.slow", "FROM scratch\n"), str(context))
    assert not list((proa.home / "images/build-cache/scratch").iterdir())
    assert not [p for p in (proa.home / "images/incoming").iterdir() if p.name.startswith("layer-")]


def read(path: Path) -> bytes:
    """Return what a process' file says, nothing when it has gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def write(path: Path, text: str) -> str:
    """Write a file and return its path."""
    path.write_text(text)
    return str(path)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel finishes by itself."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
