"""Give Gateway API's CustomResourceDefinitions: upstream's standard channel, by tools/generate_gateway_crds.py."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import orjson

from proa.client.protocol import Object

FILE = Path(__file__).with_name("crds.json")
RELEASE_ANNOTATION = "gateway.networking.k8s.io/bundle-version"


class Definitions(NamedTuple):
    """The definitions of a release."""

    release: str
    items: list[Object]


def load_definitions() -> Definitions:
    """Return them."""
    found = orjson.loads(FILE.read_bytes())
    return Definitions(found["release"], found["items"])
