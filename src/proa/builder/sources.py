"""Find what COPY, ADD and RUN's bind mounts read from: the context, another stage, an image, a here-document, a URL."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from proa.builder.built import Built
from proa.builder.context import Context
from proa.builder.dockerfile.errors import DockerfileError
from proa.builder.dockerfile.stages import Dockerfile
from proa.builder.request import BuildFailed
from proa.builder.tree import Tree
from proa.builder.workshop import Workshop
from proa.images.errors import ImageError
from proa.images.layers import Layer


class Sources:
    """Where a build's files come from. `built` has the stages that are, by their place."""

    def __init__(
        self, workshop: Workshop, dockerfile: Dockerfile, context: Context, built: Mapping[int, Built]
    ) -> None:
        self._workshop = workshop
        self._dockerfile = dockerfile
        self._context = context
        self._built = built
        self._platform = workshop.request.platform

    @contextlib.contextmanager
    def context(self) -> Iterator[Tree]:
        """Yield the context, without what .dockerignore names."""
        tree = Tree(str(self._context.directory), self._context.ignore, owned=False)
        try:
            yield tree
        finally:
            tree.close()

    def layers_of(self, name: str, before: int, line: int) -> Sequence[Layer]:
        """Return the layers of `--from=NAME`: a stage before this one, else an image."""
        stage = self._dockerfile.find_stage(name, before)
        if stage is not None:
            return self._built[stage.index].layers
        if name.isdigit() or self._dockerfile.find_stage(name) is not None:
            raise DockerfileError(
                line, f"invalid from flag value {name}: only stages before this one can be used"
            )
        try:
            return self._workshop.get_image(name, self._platform).layers
        except ImageError as error:
            raise BuildFailed(f"--from={name}: {error}", line) from error

    @contextlib.contextmanager
    def stage(self, name: str, before: int, line: int) -> Iterator[Tree]:
        """Yield a stage's or an image's files."""
        with self._workshop.tree(self.layers_of(name, before, line)) as tree:
            yield tree

    @contextlib.contextmanager
    def files(self, contents: Mapping[str, bytes]) -> Iterator[Tree]:
        """Yield files with these contents (here-documents)."""
        folder = self._workshop.new_folder()
        folder.mkdir(mode=0o755)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o644)
            os.utime(folder / name, (0, 0))
        tree = Tree(str(folder), owned=False)
        try:
            yield tree
        finally:
            tree.close()

    def unpack(self, archive: Path) -> Path:
        """Return a folder with an archive's files (ADD)."""
        from proa.builder.archives import unpack_archive

        folder = self._workshop.new_folder()
        folder.mkdir(mode=0o755)
        unpack_archive(
            archive, folder, is_root=self._workshop.level == "root", many=not self._workshop.single_uid
        )
        return folder


def chain(layers: Sequence[Layer]) -> str:
    """Return what names these layers in this order."""
    return hashlib.sha256("\n".join(layer.diff_id for layer in layers).encode()).hexdigest()
