"""What would help, going by how a container ended and what it said last: a table, the first that fits."""

from __future__ import annotations

import re

_BY_LOG: tuple[tuple[str, str], ...] = (
    (
        r"No space left on device|Errno 28|disk quota exceeded",
        "The disk is full: mount a larger volume (kubernetes.add_ephemeral_volume(), or a larger size limit), or"
        " write less",
    ),
    (
        r"No matching distribution found|Could not find a version that satisfies",
        "pip found no such package: check its name and version, and pip_index_urls where a mirror has it",
    ),
    (
        r"Failed to establish a new connection|Temporary failure in name resolution|Network is unreachable",
        "Something could not be reached over the network: check the address, and what the cluster may reach",
    ),
    (
        r"No module named '?(nbclient|nbformat|ipykernel|papermill)",
        "A notebook needs nbclient and ipykernel: add them to packages_to_install, or use an image that has them",
    ),
    (
        r"No module named '?kfp",
        "The SDK is not in the image: install kfp there, or leave install_kfp_package on",
    ),
    (
        r"ModuleNotFoundError: No module named '?([\w.]+)",
        "Python package {0} is not in the image: add it to packages_to_install, or use an image that has it",
    ),
    (
        r"FileNotFoundError: .*'/(?:minio|gcs|s3)/",
        "There is no such file at an artifact's path. An input: the step that declared it wrote nothing there. An"
        " output that is a folder: make it first, os.makedirs(artifact.path)",
    ),
    (r"Read-only file system", "It wrote where it may not: write to artifacts' paths, or below /tmp"),
    (r"Argument list too long", "Its inputs are too large for a command: pass them as artifacts"),
    (
        r"python3?: (command )?not found|\"python3?\": executable file not found",
        "There is no Python in the image: use one that has it, or a container component",
    ),
)
_BY_CODE = {
    126: "Its command cannot be executed: check its mode and its format",
    127: "Its command is not in the image: check command, and PATH",
    134: "It aborted (SIGABRT)",
    137: "It was killed (SIGKILL), often for want of memory: allow more with .set_memory_limit()",
    139: "It crashed (SIGSEGV): a native library of the image, as a rule",
    143: "It was asked to stop (SIGTERM)",
}


def find_hint(log: str, exit_code: int, image: str) -> str:
    """Return advice for a container that ended so; "" for none."""
    for pattern, advice in _BY_LOG:
        if found := re.search(pattern, log):
            said = advice.format(*found.groups()) if "{0}" in advice else advice
            return f"{said} (image {image})" if "image" in said and image else said
    return _BY_CODE.get(exit_code, "")
