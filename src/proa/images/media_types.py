"""Name what a registry's documents and layers are (image-spec and Docker's image manifest v2, schema 2)."""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
_FOREIGN = ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",)
_LAYERS = (
    OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)


def is_layer(media_type: str) -> bool:
    """Tell whether this is a layer of files: a tar archive, compressed or not."""
    plain = media_type
    for ending in ("+gzip", "+zstd", ".gzip"):
        plain = plain.removesuffix(ending)
    return plain in _LAYERS or media_type in _FOREIGN
