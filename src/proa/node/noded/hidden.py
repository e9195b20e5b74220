"""Say what of this machine no container sees: what is not part of its system, and what not everybody may read.

The image is this machine, and root inside may read all that root may. So a folder of `/` that distributions do not
have (/data, a project, another disk) is shown empty, as are homes, logs and the data of services below /var; and a
file of /etc that others may not read is not there (passwords, keys). Measured: 5-10 ms, once when noded starts.
"""

from __future__ import annotations

import os
import stat

SCRATCH_PLACES = {
    "/tmp": 0o1777, "/var/tmp": 0o1777, "/run": 0o755, "/home": 0o755, "/root": 0o755, "/var/log": 0o755,  # noqa: S108
    "/var/spool": 0o755, "/var/mail": 0o755, "/mnt": 0o755, "/media": 0o755, "/srv": 0o755,
}  # fmt: skip
SENSITIVE = (
    "/boot", "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d",
    "/etc/ssh", "/etc/ssl/private", "/etc/kubernetes", "/etc/rancher", "/etc/wireguard", "/etc/krb5.keytab",
    "/etc/NetworkManager", "/etc/docker", "/etc/letsencrypt", "/lost+found",
)  # fmt: skip
# What belongs to a system and keeps no secrets: all else is shown as an empty folder.
_KNOWN = {
    "/": {
        "bin", "boot", "dev", "etc", "gnu", "home", "lib", "lib32", "lib64", "libx32", "libexec", "media", "mnt", "nix",
        "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
    },
    "/var": {"cache", "lib", "local", "lock", "log", "mail", "opt", "run", "spool", "tmp"},
    "/var/lib": {
        "alternatives", "apk", "apt", "aspell", "dbus", "dictionaries-common", "dpkg", "emacsen-common", "ghc",
        "ghostscript", "javascript-common", "man-db", "misc", "pacman", "python", "rpm", "sgml-base", "shells.state",
        "terminfo", "texmf", "ucf", "vim", "xml-core", "xkb",
    },
    "/var/cache": {"apt", "debconf", "fontconfig", "ldconfig", "man"},
}  # fmt: skip
_READ_BY_ALL_OR_HIDDEN = ("/etc", "/usr/local/etc", "/var/cache/debconf")
_ENTRIES_READ_BY_ALL_OR_HIDDEN = ("/opt", "/var/lib", "/var/opt", "/var/local")


def find_hidden(*, reads_all: bool) -> dict[str, tuple[str, int]]:
    """Return path -> ("scratch" | "mask", mode). `reads_all`: containers' root is the host's, modes do not stop it."""
    found: dict[str, tuple[str, int]] = {}
    for folder, known in _KNOWN.items():
        for entry in _entries(folder):
            if entry.name not in known and not entry.is_symlink():
                found[entry.path] = ("scratch", 0o755) if entry.is_dir() else ("mask", 0)
    found |= dict.fromkeys(SENSITIVE, ("mask", 0))
    found |= {path: ("scratch", mode) for path, mode in SCRATCH_PLACES.items()}
    if reads_all:
        for folder in _READ_BY_ALL_OR_HIDDEN:
            found |= {path: ("mask", 0) for path in _private_below(folder) if path not in found}
        for folder in _ENTRIES_READ_BY_ALL_OR_HIDDEN:
            found |= {e.path: ("mask", 0) for e in _entries(folder) if _is_private(e) and e.path not in found}
    return found


def _private_below(folder: str) -> list[str]:
    found = []
    for entry in _entries(folder):
        if _is_private(entry):
            found.append(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            found += _private_below(entry.path)
    return found


def _is_private(entry: os.DirEntry[str]) -> bool:
    mode = entry.stat(follow_symlinks=False).st_mode
    needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return not stat.S_ISLNK(mode) and mode & needed != needed


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:  # not there, or not for us: then not for containers either
        return []
