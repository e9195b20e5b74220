"""Hold what a stage has come to: its layers, the lowest first, and its configuration."""

from __future__ import annotations

from dataclasses import dataclass

from proa.builder.image_config import Config
from proa.images.layers import Layer


@dataclass(frozen=True, slots=True)
class Built:
    """A stage that is built, or what it begins with."""

    layers: tuple[Layer, ...]
    config: Config
