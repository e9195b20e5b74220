"""Hide the host's secrets from all containers at once: one overlay layer between the host and each private upper.

It is made when noded starts. A *scratch* folder (homes, /tmp, …) is an opaque folder, so what the host has there is
not seen; a *mask* is a whiteout, so the path is not there at all. The folders above them are made again with the
host's modes; without root they are then the user's own, which lets mount targets be made inside them. That costs a
container nothing, where forty bind mounts cost 5 ms. Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EMPTY_FILES = ("/etc/shadow", "/etc/gshadow")  # their programs want them to exist
_WRITABLE = (
    "/etc", "/usr", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/local/share", "/usr/lib", "/usr/share",
    "/var", "/var/lib", "/var/cache", "/opt", "/mnt", "/media", "/srv",
)  # fmt: skip


def make(directory: str, places: Iterable[tuple[str, str, int]], *, userxattr: bool) -> list[str]:
    """Make the layer in a new folder, and return the places that it covers. Raises OSError where it cannot be had."""
    os.makedirs(directory, mode=0o755)
    opaque: list[str] = []
    covered: list[str] = []
    for path in _WRITABLE if userxattr else ():
        if _is_folder(path):
            _make_parents(directory, path + "/x")
    for path, kind, mode in places:
        if kind == "show":
            continue
        if any(path.startswith(folder + "/") for folder in opaque):
            covered.append(path)
            continue
        if not _make_parents(directory, path) or os.path.islink(path):
            continue
        place = directory + path
        if kind == "mask" and path in EMPTY_FILES:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        elif kind == "mask":
            os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))
        elif _is_folder(path):
            os.makedirs(place, exist_ok=True)
            os.chmod(place, mode)
            os.setxattr(place, "user.overlay.opaque" if userxattr else "trusted.overlay.opaque", b"y")
            opaque.append(path)
        covered.append(path)
    return covered


def _make_parents(directory: str, path: str) -> bool:
    """Make the folders above a path as the host has them; False when the host has not all of them."""
    parts = path.split("/")[1:-1]
    above = ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]
    if not all(map(_is_folder, above)):
        return False
    for folder in above:
        if not os.path.isdir(directory + folder):
            host = os.stat(folder)
            os.mkdir(directory + folder)
            os.chmod(directory + folder, stat.S_IMODE(host.st_mode))
            if os.geteuid() == 0 and host.st_uid == 0:
                os.chown(directory + folder, 0, 0)
    return True


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
