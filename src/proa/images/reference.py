"""Read image names as Docker does: `nginx` is `docker.io/library/nginx:latest`.

Follows github.com/distribution/reference (regexp.go, normalize.go) and its words.
"""

from __future__ import annotations

import re

from proa.images.errors import InvalidReference
from proa.objects.quick_dataclass import dataclass

DEFAULT_REGISTRY = "docker.io"
LOCAL_REGISTRY = "proa.local:5000"
"""The cluster's own (registry/): its images are in the store, and nowhere to be pulled from."""
DEFAULT_TAG = "latest"
_OFFICIAL = "library"
_MAX_NAME = 255

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = (
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)"
    rf"(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_HEX64 = r"[a-f0-9]{64}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A whole name: `registry/repository` with a tag, a digest, or both."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Return it without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def tagged(self) -> str:
        """Return it with its tag; "" without one."""
        return f"{self.name}:{self.tag}" if self.tag else ""

    def at(self, digest: str) -> str:
        """Return the name that a digest has in this repository (a "repo digest")."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        tag, digest = self.tag and f":{self.tag}", self.digest and f"@{self.digest}"
        return f"{self.name}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """Return it as people write it: without docker.io/ and library/."""
        text = str(self).removeprefix(f"{DEFAULT_REGISTRY}/")
        return text.removeprefix(f"{_OFFICIAL}/") if self.registry == DEFAULT_REGISTRY else text


def parse(text: str) -> Reference:
    """Return the image that a person means; without tag and digest it is `latest`. Raises InvalidReference."""
    if re.fullmatch(_HEX64, text):
        raise InvalidReference(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, rest = _split_domain(text)
    path = rest.partition("@")[0]
    path = path.partition(":")[0]
    if path.lower() != path:
        raise InvalidReference(f"invalid reference format: repository name ({path}) must be lowercase")
    found = re.fullmatch(_REFERENCE, f"{domain}/{rest}")
    if found is None or not found["domain"]:
        raise InvalidReference("invalid reference format")
    if len(f"{domain}/{found['path']}") > _MAX_NAME:
        raise InvalidReference(f"repository name must not be more than {_MAX_NAME} characters")
    tag, digest = found["tag"] or "", found["digest"] or ""
    if digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        known = digest.partition(":")[0] in ("sha256", "sha384", "sha512")
        raise InvalidReference("invalid checksum digest length" if known else "unsupported digest algorithm")
    return Reference(domain, found["path"], tag or ("" if digest else DEFAULT_TAG), digest)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first)
    domain, rest = (first, rest) if is_domain else (DEFAULT_REGISTRY, text)
    domain = DEFAULT_REGISTRY if domain == "index.docker.io" else domain
    if domain == DEFAULT_REGISTRY and "/" not in rest.partition("@")[0].partition(":")[0]:
        rest = f"{_OFFICIAL}/{rest}"
    return domain, rest
