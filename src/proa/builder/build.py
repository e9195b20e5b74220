"""Build an image of a Dockerfile: only the stages that the target needs, one after the other, then commit and tag.

Runs inside the build's namespaces (isolation.py). `build` is the way in.
"""

from __future__ import annotations

from proa.builder import arguments, image_config
from proa.builder.arguments import Arguments
from proa.builder.built import Built
from proa.builder.context import Context
from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.instructions import Copy, Instruction, Run
from proa.builder.dockerfile.stages import Dockerfile, Stage, parse, read_trigger
from proa.builder.request import BuildFailed
from proa.builder.sources import Sources
from proa.builder.stage import StageBuild
from proa.builder.workshop import Workshop
from proa.images.errors import ImageError
from proa.images.manifests import this_platform
from proa.images.store import StoredImage

_HOST_IMAGE = "proa.local/python"


def build(workshop: Workshop, context: Context) -> StoredImage:
    """Return the image that the request asks for; raise DockerfileError, BuildFailed, ImageError."""
    request = workshop.request
    dockerfile = parse(request.dockerfile)
    target = dockerfile.target(request.target)
    given = Arguments(request.arguments, request.platform, this_platform(), request.target)
    for arg in dockerfile.arguments:
        given.name_before_stages(arg, dockerfile.escape)
    built: dict[int, Built] = {}
    sources = Sources(workshop, dockerfile, context, built)
    if workshop.single_uid:
        workshop.progress.warn(
            "without subordinate ids (/etc/subuid, newuidmap) root is the only user: all files will belong to root"
        )
    needed = needed_stages(dockerfile, target, given.before_stages())
    for stage in needed:
        built[stage.index] = _build_stage(workshop, sources, dockerfile, stage, given, built, len(needed) > 1)
    for name in given.unused():
        workshop.progress.warn(f"the build argument {name} was given, and no ARG names it")
    return _commit(workshop, built[target.index])


def needed_stages(dockerfile: Dockerfile, target: Stage, variables: dict[str, str]) -> list[Stage]:
    """Return the stages that the target is made of, itself last."""
    needed: set[int] = set()
    waiting = [target]
    while waiting:
        stage = waiting.pop()
        if stage.index in needed:
            continue
        needed.add(stage.index)
        names = [arguments.expand(stage.base.image, variables, dockerfile.escape, stage.base.line)]
        names += [name for one in stage.instructions for name in _sources_of(one)]
        found = (dockerfile.find_stage(name, stage.index) for name in names)
        waiting += [other for other in found if other is not None]
    return [stage for stage in dockerfile.stages if stage.index in needed]


def _sources_of(instruction: Instruction) -> list[str]:
    if isinstance(instruction, Copy):
        return [instruction.source_stage] if instruction.source_stage else []
    if isinstance(instruction, Run):
        return [mount.source_stage for mount in instruction.mounts if mount.source_stage]
    return []


def _build_stage(
    workshop: Workshop,
    sources: Sources,
    dockerfile: Dockerfile,
    stage: Stage,
    given: Arguments,
    built: dict[int, Built],
    several: bool,
) -> Built:
    start = _start(workshop, dockerfile, stage, given.before_stages(), built)
    config = image_config.based_on(start.config)
    triggers = [
        read_trigger(text, stage.base.line) for text in image_config.get(start.config, "OnBuild") or ()
    ]
    instructions = (*triggers, *stage.instructions)
    place = stage.base.stage or (f"stage-{stage.index}" if several else "")
    process = StageBuild(
        workshop, sources, stage, given, dockerfile.escape, Built(start.layers, config), place
    )
    return process.build(instructions)


def _start(
    workshop: Workshop,
    dockerfile: Dockerfile,
    stage: Stage,
    variables: dict[str, str],
    built: dict[int, Built],
) -> Built:
    """Return what a stage begins with: nothing, another stage, or an image."""
    line = stage.base.line
    name = arguments.expand(stage.base.image, variables, dockerfile.escape, line)
    platform = arguments.expand(stage.base.platform, variables, dockerfile.escape, line)
    platform = platform or workshop.request.platform
    if not name:
        raise DockerfileError(line, f"base name ({stage.base.image}) should not be blank")
    if name == "scratch":
        return Built((), image_config.empty(platform))
    earlier = dockerfile.find_stage(name, stage.index)
    if earlier is not None:
        return built[earlier.index]
    if name.partition(":")[0] == _HOST_IMAGE:
        words = (
            f"{_HOST_IMAGE} is this machine itself, seen live: it has no layers that an image could be made on. "
            "Build on an image of a registry, or run it as it is and mount what it lacks"
        )
        raise DockerfileError(line, words)
    workshop.progress.begin(stage.base.stage, stage.base.statement.source)
    try:
        image = workshop.get_image(name, platform)
        image_config.check(image.config)
    except (ImageError, image_config.BadConfig) as error:
        raise BuildFailed(f"{name}: {error}", line) from error
    workshop.progress.end(cached=True)
    return Built(image.layers, dict(image.config))


def _commit(workshop: Workshop, built: Built) -> StoredImage:
    request = workshop.request
    config = built.config
    if request.labels:
        config = image_config.with_labels(config, list(request.labels.items()))
    created = (
        config["history"][-1]["created"] if config["history"] else image_config.timestamp(workshop.now())
    )
    config = {**config, "created": created}
    return workshop.store.commit(config, built.layers, names=tuple(request.names))
