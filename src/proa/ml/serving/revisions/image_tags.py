"""Choose a runtime image's tag by `runtimeVersion`, or by whether the container is to have a GPU.

Pure. Source: UpdateImageTag of pkg/controller/v1beta1/inferenceservice/utils/utils.go of KServe.
"""

from __future__ import annotations

import re

from proa.client.protocol import Object

_WITH_GPU_TAG = frozenset({"tensorflow-serving", "torchserve", "huggingfaceserver"})
_GPUS = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "habana.ai/gaudi")
_TAG = re.compile(r"(:[\w.\-]*)$")


def image_of(container: Object, version: str, server: str) -> str:
    """Return the container's image with the tag that it is to have."""
    image: str = container.get("image") or ""
    tag = _TAG.search(image)
    if "@sha256:" in image:
        return image
    if version:
        return f"{image[: tag.start()] if tag else image}:{version}"
    if tag is None:
        return image
    if _has_gpu(container):
        return f"{image}-gpu" if server in _WITH_GPU_TAG and not image.endswith("-gpu") else image
    name = image[: tag.start()]
    return f"{name}-cpu{tag[0]}" if server == "vllmserver" and not name.endswith("-cpu") else image


def _has_gpu(container: Object) -> bool:
    resources = container.get("resources") or {}
    return any(
        gpu in (resources.get(kind) or {}) or any("mig" in name for name in resources.get(kind) or {})
        for kind in ("limits", "requests")
        for gpu in _GPUS
    )
