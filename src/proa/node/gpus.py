"""Find the GPUs of this machine by their device files, and say what a container needs to use one.

NVIDIA's are /dev/nvidia0, 1, …, each with the control devices that all share; AMD's are the render nodes of DRM
below /dev/dri, where there is /dev/kfd. The resources are called as the makers' device plugins call them
(NVIDIA/k8s-device-plugin, ROCm/k8s-device-plugin).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from proa.node.runtimes.protocol import Mount
from proa.objects.quick_dataclass import dataclass

NVIDIA, AMD = "nvidia.com/gpu", "amd.com/gpu"
_NVIDIA = re.compile(r"nvidia(\d+)")
_NVIDIA_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_RENDER_NODE = re.compile(r"renderD(\d+)")
_AMD_VENDOR = "0x1002"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its number, and its device files, by their path in a container and on this machine."""

    id: str
    files: tuple[tuple[str, str], ...]


Gpus = Mapping[str, tuple[Gpu, ...]]
"""Resource name to the GPUs that there are."""


def find_gpus(devices: Path, sys: Path = Path("/sys")) -> Gpus:
    """Return the GPUs whose files are in `devices` (/dev)."""
    found = {NVIDIA: _nvidia(devices), AMD: _amd(devices, sys)}
    return {resource: gpus for resource, gpus in found.items() if gpus}


def _nvidia(devices: Path) -> tuple[Gpu, ...]:
    shared = [name for name in _NVIDIA_SHARED if (devices / name).exists()]
    return tuple(
        Gpu(number, tuple(_file(devices, name) for name in (f"nvidia{number}", *shared)))
        for number in _numbers(devices, _NVIDIA)
    )


def _amd(devices: Path, sys: Path) -> tuple[Gpu, ...]:
    if not (devices / "kfd").exists():
        return ()
    return tuple(
        Gpu(number, (_file(devices, "kfd"), _file(devices, f"dri/renderD{number}")))
        for number in _numbers(devices / "dri", _RENDER_NODE)
        if _vendor(sys / f"class/drm/renderD{number}/device/vendor") in ("", _AMD_VENDOR)
    )


def _numbers(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the numbers in the names of files that match, in their order."""
    try:
        matches = [pattern.fullmatch(path.name) for path in folder.iterdir()]
    except OSError:  # there is no such folder, or it is nobody's to see
        return []
    return sorted((match[1] for match in matches if match), key=int)


def _file(devices: Path, name: str) -> tuple[str, str]:
    return f"/dev/{name}", str(devices / name)


def _vendor(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # unknown: /dev/kfd says that AMD's driver is there
        return ""


def make_device_mounts(gpus: Iterable[Gpu]) -> list[Mount]:
    """Return what brings the files of GPUs into a container, each once."""
    files = dict(pair for gpu in gpus for pair in gpu.files)
    return [Mount(host_path, path, is_device=True) for path, host_path in files.items()]


def make_variables(given: Mapping[str, Iterable[Gpu]]) -> dict[str, str]:
    """Return the environment that tells programs which GPUs are theirs."""
    numbers = ",".join(gpu.id for gpu in given.get(NVIDIA, ()))
    return {"NVIDIA_VISIBLE_DEVICES": numbers} if numbers else {}
