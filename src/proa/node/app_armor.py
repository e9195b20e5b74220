"""Refuse pods that ask for AppArmor where the kernel has none, and say under which profile a container runs.

Follows pkg/security/apparmor/validate.go and pkg/kubelet/lifecycle (appArmorAdmitHandler).
"""

from __future__ import annotations

from pathlib import Path

from proa.client.protocol import Object
from proa.objects.pods import containers, ephemeral_containers, init_containers

REFUSED_REASON = "AppArmor"
ENABLED = Path("/sys/module/apparmor/parameters/enabled")


def is_enabled() -> bool:
    """Tell whether this machine's kernel has AppArmor."""
    try:
        return ENABLED.read_text().startswith("Y")
    except OSError:
        return False


def why_refused(pod: Object) -> str:
    """Return why the pod may not run here, in the kubelet's words; "" when it may."""
    every = (*init_containers(pod), *containers(pod), *ephemeral_containers(pod))
    if not any(_asked(pod, container).get("type", "Unconfined") != "Unconfined" for container in every):
        return ""
    return "" if is_enabled() else "Cannot enforce AppArmor: AppArmor is not enabled on the host"


def app_armor_profile(pod: Object, container: Object) -> str:
    """Return localhost/NAME or unconfined, "" for the runtime's own choice."""
    asked = _asked(pod, container)
    if asked.get("type") == "Localhost":
        return f"localhost/{asked['localhostProfile']}"
    return "unconfined" if asked.get("type") == "Unconfined" and is_enabled() else ""


def _asked(pod: Object, container: Object) -> Object:
    for owner in (container, pod["spec"]):
        found: Object | None = (owner.get("securityContext") or {}).get("appArmorProfile")
        if found:
            return found
    return {}
