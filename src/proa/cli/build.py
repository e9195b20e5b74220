"""Build an image of a Dockerfile, into this home's store: the cluster runs it by its name at once."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from proa.cli import Failure, UsageError
from proa.cli.terminal import print_json
from proa.home import find_home

if TYPE_CHECKING:
    from proa.builder.context import Context
    from proa.builder.isolation import Level
    from proa.builder.request import Progress, Request
    from proa.images.credentials import Credential
    from proa.images.store import ImageStore, StoredImage

DESCRIPTION = """\
Build an image of the Dockerfile in CONTEXT, a folder. Its instructions are BuildKit's (docs/building-images.md lists
them, and what is refused). No daemon, no cluster and no root is needed: steps run in containers of this machine's own.

The image goes into the home's store, where the cluster's nodes have theirs: a pod that names it runs it at once, with
imagePullPolicy IfNotPresent or Never. --push sends it to its registry, too.
"""
EPILOG = """\
examples:
  proa build -t app .                               then: kubectl run app --image=app --image-pull-policy=IfNotPresent
  proa build -t proa.local:5000/app:1 .             the name in the cluster's own registry; it needs no push
  proa build -t registry.example/team/app:1 --push .
  proa build --target test --build-arg PYTHON=3.12 .
  proa build --secret id=token,src=$HOME/.token .   in the Dockerfile: RUN --mount=type=secret,id=token …
  proa build -q .                                   print the image's id alone

The Dockerfile is CONTEXT/Dockerfile, or -f FILE; what FILE.dockerignore, else CONTEXT/.dockerignore, names is not part
of the context. Steps whose inputs are as before come from the cache; what is not used for 14 days leaves it.

--push sends the image as who ~/.docker/config.json ($DOCKER_CONFIG) and the home's registries.yaml say.

environment:
  SOURCE_DATE_EPOCH   seconds since 1970: no file is newer, and the image says it was made then. The same sources then
                      make the same image
  HTTP_PROXY, HTTPS_PROXY, FTP_PROXY, NO_PROXY, ALL_PROXY (and in small letters): steps have them, no layer depends on
                      them

exit codes:
  0  built   1  the build failed: the line, and what the step printed last, are on standard error   2  wrong usage
  130  interrupted; nothing is left of it
"""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_MAX_SECRET_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("context", metavar="CONTEXT", help="the folder whose files COPY and ADD may take")
    parser.add_argument(
        "-t", "--tag", metavar="NAME", action="append", default=[], help="name[:tag]; may come again"
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE", default="", help="default: CONTEXT/Dockerfile; - reads it"
    )
    parser.add_argument("--target", metavar="STAGE", default="", help="build this stage (default: the last)")
    parser.add_argument(
        "--build-arg", metavar="K[=V]", action="append", default=[], help="an ARG; K takes V from here"
    )
    parser.add_argument("--label", metavar="K=V", action="append", default=[], help="a label of the image")
    parser.add_argument(
        "--secret",
        metavar="id=…,src=…",
        action="append",
        default=[],
        help="a file (src=) or variable (env=) for RUN",
    )
    parser.add_argument("--platform", default="", help="os/arch of base images (default: this machine's)")
    parser.add_argument("--no-cache", action="store_true", help="carry out every step anew")
    parser.add_argument(
        "--pull", action="store_true", help="ask registries for base images that are here, too"
    )
    parser.add_argument(
        "--push", action="store_true", help="send the image to the registry that each -t names"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print the image's id, nothing else")
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="how to print (default: text)"
    )


def run(options: argparse.Namespace) -> int:
    """Build."""
    from proa.builder import isolation
    from proa.builder.context import BadContext, find_context
    from proa.builder.dockerfile.errors import DockerfileError
    from proa.builder.dockerfile.stages import parse

    home = find_home(options.home)
    try:
        context, text, path = find_context(options.context, options.file)
        parse(text).target(options.target)
    except BadContext as error:
        raise Failure(str(error)) from None
    except DockerfileError as error:
        error.path = path
        raise Failure(with_source(error, text)) from None
    request = make_request(options, context, text, path)
    home.make()
    try:
        code = isolation.run_inside(lambda level: build_inside(options, home.path, request, context, level))
    except isolation.NotIsolated as error:
        raise Failure(str(error)) from None
    if code == isolation.INTERRUPTED:
        raise KeyboardInterrupt
    return code


def make_request(options: argparse.Namespace, context: Context, text: str, path: str) -> Request:
    """Return what is asked for; raise UsageError."""
    from proa.builder.request import Request
    from proa.images.errors import InvalidReference
    from proa.images.manifests import this_platform
    from proa.images.reference import parse

    for name in options.tag:
        try:
            found = parse(name)
        except InvalidReference as error:
            raise UsageError(f"-t {name}: {error}") from None
        if found.digest:
            raise UsageError(f"-t {name}: a name with a digest cannot be given")
    if options.push and not options.tag:
        raise UsageError("--push needs a name: -t REGISTRY/NAME")
    if options.platform and not re.fullmatch(r"[a-z0-9]+/[a-z0-9_]+(/v[0-9]+)?", options.platform):
        raise UsageError(f"--platform {options.platform}: it should be like linux/amd64")
    names = (*_PROXIES, *(name.lower() for name in _PROXIES))
    arguments = {name: os.environ[name] for name in names if os.environ.get(name)}
    arguments |= _pairs(options.build_arg, "--build-arg")
    epoch = arguments.get("SOURCE_DATE_EPOCH") or os.environ.get("SOURCE_DATE_EPOCH") or ""
    if epoch and not epoch.isdigit():
        raise UsageError(f"SOURCE_DATE_EPOCH={epoch}: it should be seconds since 1970")
    return Request(
        context=context.directory,
        dockerfile=text,
        dockerfile_path=path,
        names=tuple(options.tag),
        arguments=arguments,
        labels=_pairs(options.label, "--label"),
        target=options.target,
        secrets=dict(_read_secret(text) for text in options.secret),
        use_cache=not options.no_cache,
        platform=options.platform or this_platform(),
        epoch=int(epoch) if epoch else None,
    )


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (not equals and option == "--label"):
            raise UsageError(f"{option} {text}: it should be NAME=VALUE")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def _read_secret(text: str) -> tuple[str, bytes]:
    """Return a secret's id and content; what it holds is in no message."""
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    fields = {{"source": "src", "target": "id"}.get(name, name): value for name, value in fields.items()}
    kind = fields.pop("type", "env" if "env" in fields else "file")
    name = fields.get("id", "")
    unknown = set(fields) - {"id", "src", "env"}
    if not name or unknown or kind not in ("file", "env"):
        raise UsageError("--secret: it should be id=NAME,src=FILE or id=NAME,env=VARIABLE")
    if kind == "env":
        variable = fields.get("env") or fields.get("src") or name
        if variable not in os.environ:
            raise UsageError(f"--secret id={name}: the variable {variable} is not set")
        return name, os.environ[variable].encode("utf-8", "surrogateescape")
    try:
        with Path(fields.get("src") or name).open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--secret id={name}: {error.filename}: {error.strerror}") from None
    if len(content) > _MAX_SECRET_BYTES:
        raise UsageError(f"--secret id={name}: it is larger than {_MAX_SECRET_BYTES >> 20} MiB")
    return name, content


def build_inside(
    options: argparse.Namespace, home: Path, request: Request, context: Context, level: Level
) -> int:
    """Build, in the build's own namespaces; print the outcome and return the exit code."""
    import sys

    from proa.builder.build import build
    from proa.builder.dockerfile.errors import DockerfileError
    from proa.builder.layers import NoOverlay
    from proa.builder.progress import LineProgress, QuietProgress
    from proa.builder.request import BuildFailed
    from proa.builder.workshop import Workshop
    from proa.images.errors import ImageError
    from proa.images.store import ImageStore

    began = time.monotonic()
    progress: Progress = QuietProgress() if options.quiet else LineProgress()
    store = ImageStore(home / "images")
    puller = _Puller(store, home, always=options.pull)
    try:
        with Workshop(store, request, progress, puller.get, level) as workshop:
            image = build(workshop, context)
            if options.push:
                puller.push(image, request, progress)
            workshop.cache.prune()
    except DockerfileError as error:
        error.path = request.dockerfile_path
        print(f"proa build: {with_source(error, request.dockerfile)}", file=sys.stderr)
        return 1
    except BuildFailed as error:
        print(f"proa build: {failure_words(error, request)}", file=sys.stderr)
        return 1
    except (ImageError, NoOverlay) as error:
        print(f"proa build: {error}", file=sys.stderr)
        return 1
    _tell(options, request, image, time.monotonic() - began)
    return 0


class _Puller:
    """Gets base images, from the store or their registry, and sends what was built."""

    def __init__(self, store: ImageStore, home: Path, *, always: bool) -> None:
        from proa.images.registries import Registries

        self._store = store
        self._registries = Registries.read(home / "registries.yaml")
        self._always = always
        self._asked: dict[tuple[str, str], StoredImage] = {}

    def get(self, name: str, platform: str) -> StoredImage:
        """Return an image with its layers unpacked; raise ImageError."""
        from proa.images.manifests import this_platform
        from proa.images.pull import pull
        from proa.images.reference import parse

        known = self._asked.get((name, platform))
        if known is None:
            found = self._store.resolve(name) if not self._always and platform == this_platform() else None
            if found is None:
                own = "" if platform == this_platform() else platform
                found = pull(self._store, self._registries, parse(name), _credentials(), platform=own).image
            known = self._asked[name, platform] = found
        with self._store.workers() as workers:
            for layer in known.layers:
                self._store.layers.unpack(workers, layer)
        return known

    def push(self, image: StoredImage, request: Request, progress: Progress) -> None:
        """Send the image to the registry of each of its names; raise ImageError."""
        from proa.images.push import push
        from proa.images.reference import LOCAL_REGISTRY, parse

        for name in request.names:
            reference = parse(name)
            if reference.registry == LOCAL_REGISTRY:  # the image is there: it has its name
                continue
            progress.begin("", f"push {reference}")
            sent = push(
                self._store,
                self._registries,
                image,
                reference,
                _credentials(),
                lambda blob, what: progress.output(f"{blob.digest} {what}\n".encode()),
            )
            progress.output(f"{reference.at(sent)}\n".encode())
            progress.end(cached=False)


def _credentials() -> list[Credential]:
    """Return who Docker's configuration says we are at registries."""
    from proa.images.credentials import InvalidCredentials, read_docker_config

    folder = os.environ.get("DOCKER_CONFIG")
    path = Path(folder) if folder else Path("~/.docker").expanduser()
    try:
        return [*read_docker_config((path / "config.json").read_bytes())]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    except InvalidCredentials as error:
        raise InvalidCredentials(f"{path / 'config.json'}: {error}") from None


def with_source(error: object, text: str) -> str:
    """Return an error of the Dockerfile with the line that it is about."""
    line = getattr(error, "line", 0)
    lines = text.splitlines()
    return f"{error}\n{line:5} | {lines[line - 1]}" if 0 < line <= len(lines) else str(error)


def failure_words(error: object, request: Request) -> str:
    """Return what failed: the instruction's place and lines, and what its program printed last."""
    line, tail = getattr(error, "line", 0), getattr(error, "tail", "")
    lines = request.dockerfile.splitlines()
    place = f"{request.dockerfile_path}:{line}: " if line else ""
    words = [f"{place}{error}"]
    if 0 < line <= len(lines):
        words.append(f"{line:5} | {lines[line - 1]}")
    if tail:
        words += ["the last that it printed:", *(f"      | {one}" for one in tail.splitlines())]
    return "\n".join(words)


def _tell(options: argparse.Namespace, request: Request, image: StoredImage, seconds: float) -> None:
    from proa.images.reference import parse

    names = [parse(name).familiar for name in request.names]
    if options.output == "json":
        digest = image.manifest.digest
        print_json(
            {
                "id": image.id,
                "digest": digest,
                "names": names,
                "size": image.size,
                "seconds": round(seconds, 3),
            }
        )
    elif options.quiet:
        print(image.id)
    else:
        print(f"built {' '.join(names) or image.id} in {seconds:.1f}s ({image.manifest.digest})")
