"""Find the seccomp profile that a container asks for; files are below the kubelet's seccomp folder, as OCI's JSON.

Follows pkg/kubelet/kuberuntime/helpers_linux.go (getSeccompProfile) and containerd's generateSeccompSpecOpts.
"""

from __future__ import annotations

from pathlib import Path

from proa.client.protocol import Object
from proa.node.environment import ConfigError
from proa.objects.quick_dataclass import dataclass

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SeccompProfile:
    """What filters a container: nothing, a profile's JSON, or ("") the default one."""

    unconfined: bool = False
    json: str = ""


def find_profile(pod: Object, container: Object, folder: Path) -> SeccompProfile:
    """Return the container's profile; raise ConfigError for one that is not there."""
    for owner in (container, pod["spec"]):
        asked = (owner.get("securityContext") or {}).get("seccompProfile")
        if asked:
            return _read_profile(asked, folder)
    return SeccompProfile()


def _read_profile(asked: Object, folder: Path) -> SeccompProfile:
    if asked["type"] != "Localhost":
        return SeccompProfile(unconfined=asked["type"] == "Unconfined")
    path = folder / asked["localhostProfile"]
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f'cannot load seccomp profile "{path}": it is larger than {MAX_BYTES} bytes')
        return SeccompProfile(json=data.decode())
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f'cannot load seccomp profile "{path}": open {path}: {words}') from error
