"""Carry out RUN: put together the program, its mounts and what the cache knows it by; run it; keep what it wrote."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from proa.builder import image_config, pretend_owners, run, step_root
from proa.builder.copying import How, Target
from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.instructions import Run
from proa.builder.dockerfile.lines import parse_heredoc
from proa.builder.dockerfile.mounts import Mount
from proa.builder.ignore import Ignore
from proa.builder.layers import Mounted
from proa.builder.request import BuildFailed
from proa.builder.sources import chain
from proa.builder.stage import Done, StageBuild
from proa.builder.step_root import PIPES, Shown
from proa.builder.tree import MissingSource, Tree
from proa.images.manifests import this_platform

_TAIL_BYTES = 8192
_TAIL_LINES = 20
_FILES = ("/etc/resolv.conf", "/etc/hosts")


def run_step(build: StageBuild, instruction: Run) -> Done:
    """Run, or have it from the cache; raise BuildFailed."""
    argv, script = _program(build, instruction)
    mounts = [_expanded(build, instruction, mount) for mount in instruction.mounts]
    user = image_config.get(build.config, "User") or ""
    place = image_config.working_directory(build.config)
    environment = build.run_environment()
    described = [_describe(build, instruction, mount) for mount in mounts]
    inputs = [argv, script, environment, user, place, instruction.network, described]
    words = f"RUN {' '.join(argv)}"
    key = build.key("run", *inputs)
    known = build.find(key)
    if known is not None:
        return Done(known, words, cached=True)
    _check_platform(build, instruction)
    workshop = build.workshop
    with contextlib.ExitStack() as stack, workshop.mounted(build.layers) as mounted:
        shown = _basic_files(build)
        if script is not None:
            folder = workshop.new_folder()
            folder.mkdir(mode=0o755)
            name = instruction.heredocs[0].name
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
            shown.append(Shown(str(folder), PIPES, read_only=True))
        extra = dict(build.proxies())
        for mount in mounts:
            extra |= _add_mount(build, instruction, mount, shown, stack)
        if workshop.single_uid:
            extra["APT_CONFIG"] = _apt_config(build, shown)
        has_network = instruction.network != "none"
        program = run.Program(argv, {**extra, **environment}, place, user, has_network=has_network)
        stubs = _run(build, instruction, program, mounted, shown)
        mounted.unmount()
        stubs.forget_folders(str(mounted.upper))
        layer = workshop.commit(mounted)
    return Done(workshop.keep(key, layer), words, cached=False)


def _program(build: StageBuild, instruction: Run) -> tuple[list[str], str | None]:
    """Return what is run, and a script for `/dev/pipes` where a here-document begins with `#!`."""
    shell = list(image_config.shell(build.config))
    if not instruction.is_shell:
        return list(instruction.words), None
    text = instruction.words[0]
    if not instruction.heredocs:
        return [*shell, text], None
    if parse_heredoc(text) is not None:
        content = instruction.heredocs[0].content
        if content.startswith("#!"):
            return [f"{PIPES}/{instruction.heredocs[0].name}"], content
        return [*shell, content], None
    whole = text + "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in instruction.heredocs)
    return [*shell, whole], None


def _expanded(build: StageBuild, instruction: Run, mount: Mount) -> Mount:
    target = build.expand(mount.target, instruction)
    return replace(
        mount,
        target=build.absolute(target).rstrip("/") or "/" if target else "",
        source=build.expand(mount.source, instruction),
        id=build.expand(mount.id, instruction),
    )


def _describe(build: StageBuild, instruction: Run, mount: Mount) -> list[object]:
    """Return what of a mount a layer may depend on: a bind's files; not what is in caches and secrets."""
    described: list[object] = [mount.type, mount.target, mount.read_only, mount.env]
    if mount.type == "cache":
        return [*described, mount.id]
    if mount.type != "bind":
        return described
    if mount.source_stage:
        layers = build.sources.layers_of(mount.source_stage, build.stage.index, instruction.line)
        return [*described, chain(layers), mount.source]
    with build.sources.context() as tree, _missing(instruction):
        return [*described, tree.digest([tree.resolve(mount.source)], Ignore())]


@contextlib.contextmanager
def _missing(instruction: Run) -> Iterator[None]:
    try:
        yield
    except MissingSource as error:
        raise BuildFailed(f"--mount: {error}", instruction.line) from error


def _basic_files(build: StageBuild) -> list[Shown]:
    """Return the host's resolvers and names: the step is in the host's network."""
    folder = build.workshop.new_folder()
    folder.mkdir(mode=0o755)
    shown = []
    for path in _FILES:
        copied = folder / Path(path).name
        try:
            copied.write_bytes(Path(path).read_bytes())
        except OSError:
            copied.write_bytes(b"")
        copied.chmod(0o644)
        shown.append(Shown(str(copied), path, read_only=True))
    return shown


def _apt_config(build: StageBuild, shown: list[Shown]) -> str:
    folder = build.workshop.new_folder()
    folder.mkdir(mode=0o755)
    (folder / "apt.conf").write_text(pretend_owners.APT_CONFIG)
    shown.append(Shown(str(folder), "/dev/.proa", read_only=True))
    return "/dev/.proa/apt.conf"


def _add_mount(
    build: StageBuild, instruction: Run, mount: Mount, shown: list[Shown], stack: contextlib.ExitStack
) -> dict[str, str]:
    """Add what `--mount` asks for; return variables that it sets."""
    match mount.type:
        case "tmpfs":
            shown.append(Shown("", mount.target, size_bytes=mount.size_bytes))
        case "cache":
            shown.append(
                Shown(_cache_folder(build, instruction, mount, stack), mount.target, mount.read_only)
            )
        case "secret":
            return _add_secret(build, instruction, mount, shown)
        case "bind":
            shown.append(Shown(_bind_source(build, instruction, mount, stack), mount.target, mount.read_only))
    return {}


def _cache_folder(build: StageBuild, instruction: Run, mount: Mount, stack: contextlib.ExitStack) -> str:
    identifier = f"{mount.id or mount.target}\0{build.workshop.level}"
    folder, is_new = stack.enter_context(build.workshop.cache.mount(identifier, mount.sharing))
    if is_new:
        if mount.source_stage:
            with build.sources.stage(mount.source_stage, build.stage.index, instruction.line) as tree:
                _copy_tree(tree, mount.source, folder, instruction)
        folder.chmod(0o755 if mount.mode < 0 else mount.mode)
        if not build.workshop.single_uid:
            os.chown(folder, mount.uid, mount.gid)
    return str(folder)


def _add_secret(build: StageBuild, instruction: Run, mount: Mount, shown: list[Shown]) -> dict[str, str]:
    content = build.workshop.request.secrets.get(mount.id)
    if content is None:
        if mount.required:
            raise BuildFailed(
                f"secret {mount.id} not found: give it with --secret id={mount.id},src=FILE", instruction.line
            )
        return {}
    if mount.target:
        path = build.workshop.secret_file(content)
        os.chmod(path, 0o400 if mount.mode < 0 else mount.mode)
        if not build.workshop.single_uid:
            os.chown(path, mount.uid, mount.gid)
        shown.append(Shown(str(path), mount.target, read_only=True))
    return {mount.env: content.decode("utf-8", "surrogateescape")} if mount.env else {}


def _bind_source(build: StageBuild, instruction: Run, mount: Mount, stack: contextlib.ExitStack) -> str:
    """Return the folder or file to be bound. What may be written is a copy, or a layer that nobody keeps."""
    if mount.source_stage:
        layers = build.sources.layers_of(mount.source_stage, build.stage.index, instruction.line)
        held = stack.enter_context(build.workshop.mounted(layers, writable=not mount.read_only))
        tree = Tree(str(held.root))
        stack.callback(tree.close)
        with _missing(instruction):
            return f"{held.root}/{tree.resolve(mount.source)}".rstrip("/")
    folder = build.workshop.new_folder()
    with build.sources.context() as tree, _missing(instruction):
        resolved = tree.resolve(mount.source)
        if os.path.isdir(tree.at(resolved)):
            folder.mkdir(mode=0o755)
            _copy_tree(tree, mount.source, folder, instruction)
            return str(folder)
        folder.mkdir(mode=0o755)
        _copy_tree(tree, mount.source, folder, instruction)
        return f"{folder}/{os.path.basename(resolved)}"


def _copy_tree(tree: Tree, source: str, folder: Path, instruction: Run) -> None:
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _missing(instruction):
            Target(root).copy(tree, tree.resolve(source), "/", How())
    finally:
        os.close(root)


def _check_platform(build: StageBuild, instruction: Run) -> None:
    wanted, here = build.workshop.request.platform.split("/")[:2], this_platform().split("/")[:2]
    if wanted != here:
        words = f"RUN cannot run programs of {'/'.join(wanted)} on this machine, which is {'/'.join(here)}"
        raise DockerfileError(instruction.line, words)


def _run(
    build: StageBuild, instruction: Run, program: run.Program, mounted: Mounted, shown: Sequence[Shown]
) -> step_root.Stubs:
    """Run the program; return what was made for it to be mounted on, and is gone again."""
    workshop = build.workshop
    tail = bytearray()

    def tell(data: bytes) -> None:
        tail.extend(data)
        del tail[:-_TAIL_BYTES]
        workshop.progress.output(data)

    root = os.open(mounted.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stubs = step_root.prepare(root, list(shown))
    try:
        code = run.run(
            program,
            str(mounted.root),
            list(shown),
            workshop.own_pid_namespace,
            tell,
            single_uid=workshop.single_uid,
        )
    except run.CannotStart as error:
        raise BuildFailed(str(error), instruction.line) from error
    finally:
        stubs.remove()
        os.close(root)
    if code:
        lines = tail.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        command = " ".join(program.argv)
        raise BuildFailed(
            f'process "{command}" did not complete successfully: exit code: {code}',
            instruction.line,
            "\n".join(lines),
        )
    return stubs
