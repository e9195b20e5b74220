"""List, pull, load, save, tag and remove the images of this machine; every node of the home's cluster has them."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from proa.cli import Failure, UsageError
from proa.cli.terminal import Terminal, format_bytes, format_table, print_json
from proa.home import Home, find_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proa.images.pull import LayerProgress
    from proa.images.store import ImageStore, StoredImage

DESCRIPTION = """\
Handle the images in this home, which all nodes of its cluster share; the cluster may run or not.
Pods pull what they need by themselves: this is for looking, for machines without a network, and for making room.
"""
EPILOG = """\
examples:
  proa images                              what is here, and what containers use
  proa images pull nginx:1.27              from Docker Hub; a registry's name comes first: ghcr.io/team/app:v1
  proa images load app.tar                 what `docker save`, `podman save` or skopeo wrote
  docker save app | proa images load -
  proa images save -O app.tar app:v1       an archive that Docker, Podman and skopeo read as well
  proa images tag app:v1 registry.example/team/app:v1
  proa images inspect app:v1               its configuration and layers, as JSON
  proa images rm app:v1                    the name; with its last name the image goes
  proa images prune                        what has no name; --all: what no container uses

An image that was loaded runs with imagePullPolicy IfNotPresent or Never; a name that ends in :latest (or has no tag) is
pulled Always, unless the pod says otherwise.

Who you are at a registry is said by --user, or by $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or
~/.docker/config.json, or by registries.yaml in the home, which also names mirrors and certificates.
"""
_ID_CHARACTERS = 12
_NAMES = "by name, id, the beginning of an id, or digest"
_SUMMARIES = {
    "ls": "list the images that are here, or those whose names have some part",
    "pull": "bring images from their registries",
    "load": "bring in the images of archives",
    "save": "write images into one archive",
    "rm": "take names from images; with its last name an image goes",
    "tag": "give an image another name",
    "prune": "remove images without a name, or all that no container uses",
    "inspect": "show an image's configuration and layers as JSON",
}


_BRINGING = ("pull", "load")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    _add_output(parser, "text")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    made = {}
    for name, summary in _SUMMARIES.items():
        made[name] = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        made[name].add_argument(
            "--home", metavar="DIR", default=argparse.SUPPRESS, help="the cluster's folder"
        )
        _add_output(made[name], argparse.SUPPRESS)
    made["ls"].add_argument(
        "name", nargs="*", metavar="PART", help="only images whose name or id has this in it"
    )
    for name in ("save", "rm", "inspect"):
        made[name].add_argument("name", nargs="+", metavar="IMAGE", help=_NAMES)
    made["tag"].add_argument("name", metavar="IMAGE", help=_NAMES)
    made["tag"].add_argument("new_name", metavar="NAME", help="its new name")
    made["load"].add_argument("name", nargs="+", metavar="FILE", help="an archive; - is standard input")
    made["load"].add_argument(
        "--as",
        dest="as_name",
        default="",
        metavar="NAME",
        help="another name for the image of an archive that has one",
    )
    made["save"].add_argument(
        "-O", "--to", metavar="FILE", help="where to write (default: standard output, if that is no terminal)"
    )
    made["rm"].add_argument(
        "--force", action="store_true", help="also of what containers use: it goes after them"
    )
    made["prune"].add_argument(
        "-a", "--all", action="store_true", help="every image that no container uses, and the build cache"
    )
    pull = made["pull"]
    pull.add_argument(
        "name", nargs="+", metavar="IMAGE", help="as nginx:1.27, or registry.example:5000/team/app:v1"
    )
    pull.add_argument("--user", metavar="USER[:PASSWORD]", help="who you are at the registry")
    pull.add_argument(
        "--password-stdin", action="store_true", help="read --user's password from standard input"
    )
    pull.add_argument("--platform", default="", metavar="OS/ARCH", help="another one than this machine's")


def _add_output(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("-o", "--output", choices=["text", "json"], default=default, help="how to print")


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from proa.images.errors import ImageError
    from proa.images.store import ImageStore

    if getattr(options, "password_stdin", False) and not options.user:
        raise UsageError("--password-stdin needs --user")
    home = find_home(options.home)
    if options.action in _BRINGING:
        home.make()
    elif not home.path.exists():
        raise Failure(f"{home.path} is no home: `proa up`, `proa images pull` and `load` make one")
    try:
        return _ACTIONS[options.action or "ls"](ImageStore(home.images), options, home)
    except ImageError as error:
        raise Failure(str(error)) from None


# What is here


def _list(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    pinned, names = store.pinned(), getattr(options, "name", ())
    found = [_describe(store, image, pinned) for image in store.images() if _is_wanted(image, names)]
    if options.output == "json":
        print_json({"images": found})
        return 0
    rows = [("IMAGE", "ID", "SIZE", "ON DISK", "USED")]
    for one in found:
        shown = one["id"].removeprefix("sha256:")[:_ID_CHARACTERS]
        for name in one["tags"] or one["digests"] or ["<none>"]:
            sizes = (format_bytes(one["sizeBytes"]), format_bytes(one["diskBytes"]))
            rows.append((_familiar(name), shown, *sizes, "yes" if one["used"] else ""))
    if len(rows) == 1:
        Terminal(sys.stderr).line(
            "no images here; `proa images pull NAME` brings one, and so does a pod that wants it"
        )
        return 0
    Terminal().line(format_table(rows))
    return 0


def _is_wanted(image: StoredImage, names: Sequence[str]) -> bool:
    return not names or any(
        part in name for part in names for name in (*image.tags, *image.repo_digests, image.id)
    )


def _describe(store: ImageStore, image: StoredImage, pinned: frozenset[str]) -> dict[str, Any]:
    return {
        "id": image.id,
        "tags": [*image.tags],
        "digests": [*image.repo_digests],
        "sizeBytes": image.size,
        "diskBytes": image.size + sum(store.layers.unpacked_size(layer.diff_id) for layer in image.layers),
        "layers": len(image.layers),
        "platform": f"{image.config.get('os', '')}/{image.config.get('architecture', '')}",
        "created": image.config.get("created"),
        "used": image.id in pinned,
    }


def _inspect(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    found = []
    for name in options.name:
        image = _find(store, name)
        layers = [
            {
                "diffID": layer.diff_id,
                "digest": layer.digest,
                "sizeBytes": layer.size,
                "mediaType": layer.media_type,
            }
            for layer in image.layers
        ]
        described = _describe(store, image, store.pinned())
        target = {"mediaType": image.target.media_type, "digest": image.target.digest}
        found.append({**described, "layers": layers, "target": target, "config": dict(image.config)})
    print_json(found[0] if len(found) == 1 else found)
    return 0


# What comes


def _pull(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    from proa.images.pull import pull
    from proa.images.reference import parse
    from proa.images.registries import Registries

    registries = Registries.read(home.path / "registries.yaml")
    references = [parse(name) for name in options.name]
    credentials = _credentials(options, [reference.registry for reference in references])
    terminal = Terminal(sys.stderr)
    pulled = []
    for reference in references:
        shown = _Progress(terminal, reference.familiar)
        image = _stoppable(
            lambda stop, r=reference, w=shown.show: (
                pull(  # type: ignore[misc]
                    store, registries, r, credentials, stop=stop, watch=w, platform=options.platform
                ).image
            )
        )
        pulled.append(image)
        if options.output == "text":
            Terminal().line(f"{reference.familiar}  {image.id}  {format_bytes(image.size)}")
    if options.output == "json":
        print_json({"images": [_describe(store, image, store.pinned()) for image in pulled]})
    return 0


def _stoppable(work: Callable[[Any], Any]) -> Any:
    """Do what blocks in a thread, so that Ctrl-C ends it at once, connections and all."""
    from proa.images.transport import Stop

    stop = Stop()
    result: list[Any] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(work(stop))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        stop.set()
        thread.join()
        raise
    if failure:
        raise failure[0]
    return result[0]


class _Progress:
    """One line for a person: how many layers are here, how much of them, what is being unpacked."""

    def __init__(self, terminal: Terminal, name: str) -> None:
        self._terminal, self._name = terminal, name
        self._layers: dict[str, LayerProgress] = {}
        self._lock = threading.Lock()

    def show(self, progress: LayerProgress) -> None:
        """Take in how far a layer is."""
        with self._lock:
            self._layers[progress.digest] = progress
            layers = self._layers.values()
            done = sum(layer.state == "done" for layer in layers)
            have, total = sum(layer.current for layer in layers), sum(layer.total for layer in layers)
            unpacking = sum(layer.state == "unpacking" for layer in layers)
            words = (
                f"{self._name}: {done} of {len(layers)} layers, {format_bytes(have)} of {format_bytes(total)}"
            )
            self._terminal.progress(words + (f", unpacking {unpacking}" if unpacking else ""))


def _credentials(options: argparse.Namespace, registries: list[str]) -> list[Any]:
    """Return who the caller is at registries: as --user says, else as Docker's configuration does."""
    import os
    from pathlib import Path

    from proa.images.credentials import Credential, read_docker_config

    if options.user:
        name, _, password = options.user.partition(":")
        if options.password_stdin:
            password = sys.stdin.readline().rstrip("\n")
        return [Credential(registry, name, password) for registry in registries]
    folder = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    for place in (os.environ.get("REGISTRY_AUTH_FILE") or "", f"{folder}/config.json"):
        if place and Path(place).is_file():
            return read_docker_config(Path(place).read_bytes())
    return []


def _load(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    from proa.images.archives import load

    loaded = []
    for name in options.name:
        Terminal(sys.stderr).progress(f"loading {name}")
        with _opened(name) as file:
            loaded += _stoppable(lambda stop, f=file: load(store, f, options.as_name))  # type: ignore[misc]
    if options.output == "json":
        print_json({"images": [_describe(store, image, store.pinned()) for image in loaded]})
        return 0
    for image in loaded:
        for tag in image.tags or ("<none>",):
            Terminal().line(f"{_familiar(tag)}  {image.id}  {format_bytes(image.size)}")
        if not image.tags:
            Terminal(sys.stderr).line(f"it has no name yet: proa images tag {image.id[7:19]} NAME")
    return 0


def _opened(name: str) -> Any:
    return nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb")


# What goes


def _save(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    from proa.images.archives import save

    for name in options.name:
        _find(store, name)
    with _written(options.to) as file:
        save(store, options.name, file)
    return 0


@contextmanager
def _written(path: str | None) -> Iterator[BinaryIO]:
    """Yield the file to write; it is at its place only once it is whole."""
    import os

    if path is None or path == "-":
        if sys.stdout.isatty():
            raise UsageError("an archive is nothing for a terminal: -O FILE, or a pipe")
        yield sys.stdout.buffer
        return
    partial = f"{path}.part"
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def _tag(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    store.tag(options.new_name, _find(store, options.name).target)
    return 0


def _remove(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    pinned = store.pinned()
    for name in options.name:
        image = _find(store, name)
        others = store.names_without(name, image)
        if image.id in pinned and not others and not options.force:
            raise Failure(
                f"containers use {name}: end them first, or --force takes its name, and it goes after them"
            )
        store.untag(name)
    _collect(store, options)
    return 0


def _prune(store: ImageStore, options: argparse.Namespace, home: Home) -> int:
    pinned = store.pinned()
    for image in store.images():
        if image.id not in pinned and (options.all or not image.tags):
            store.untag(image.id)
    _collect(store, options, with_build_cache=options.all)
    return 0


def _collect(store: ImageStore, options: argparse.Namespace, *, with_build_cache: bool = False) -> None:
    from proa.images.garbage import collect

    freed = collect(store, grace_seconds=0.0, with_build_cache=with_build_cache)
    if options.output == "json":
        print_json({"freedBytes": freed.size, "layers": freed.layers, "blobs": freed.blobs})
    else:
        Terminal(sys.stderr).line(f"freed {format_bytes(freed.size)}")


def _find(store: ImageStore, name: str) -> StoredImage:
    image = store.resolve(name)
    if image is None:
        raise Failure(f"there is no image {name}; `proa images` lists those that are here")
    return image


def _familiar(name: str) -> str:
    from proa.images.errors import InvalidReference
    from proa.images.reference import parse

    try:
        return parse(name).familiar
    except InvalidReference:
        return name


_ACTIONS = cast(
    "dict[str, Callable[[ImageStore, argparse.Namespace, Home], int]]",
    {
        "ls": _list,
        "pull": _pull,
        "load": _load,
        "save": _save,
        "rm": _remove,
        "tag": _tag,
        "prune": _prune,
        "inspect": _inspect,
    },
)
