"""Turn a container's spec into what the runtime is asked for: argv, user, mounts, limits, labels.

Pure. Follows pkg/kubelet/kuberuntime/kuberuntime_container.go (generateContainerConfig), security_context.go
and labels.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from proa.client.protocol import Object
from proa.node.app_armor import app_armor_profile
from proa.node.container_status import pod_description
from proa.node.environment import ConfigError, expand
from proa.node.resize import resources_label
from proa.node.resources import container_resources
from proa.node.runtime_cache import (
    CONTAINER_NAME_LABEL,
    IMAGE_ID_LABEL,
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    RESOURCES_LABEL,
    WANTED_IMAGE_LABEL,
)
from proa.node.runtimes.protocol import ContainerConfig, Image, Mount, Security
from proa.node.seccomp_profiles import SeccompProfile
from proa.objects.meta import name, namespace, uid

DEFAULT_PROFILE = SeccompProfile()
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_container_config(
    pod: Object,
    container: Object,
    image: Image,
    variables: Mapping[str, str],
    mounts: Sequence[Mount],
    *,
    attempt: int,
    hostname: str,
    pods_directory: Path,
    logs: Path,
    memory_capacity_bytes: int,
    profile: SeccompProfile = DEFAULT_PROFILE,
    pid_namespace_of: str = "",
) -> ContainerConfig:
    """Return one attempt's configuration, its log below `logs`; raise ConfigError when runAsNonRoot is broken."""
    security = make_security(pod, container, image, profile)
    uses_tty = bool(container.get("tty"))
    environment = dict(image.env)
    environment.setdefault("PATH", DEFAULT_PATH)
    environment |= {"HOSTNAME": hostname}
    if uses_tty:
        environment.setdefault("TERM", "xterm")
    environment |= variables
    if not image.layers:  # an image's own users have homes of their own
        environment.setdefault("HOME", "/root" if not security.run_as_user else "/")
    return ContainerConfig(
        name=container["name"],
        image=image.name,
        argv=make_argv(container, image, variables),
        env=tuple(environment.items()),
        working_dir=container.get("workingDir") or image.working_dir,
        attempt=attempt,
        mounts=tuple(mounts),
        resources=container_resources(pod, container, memory_capacity_bytes),
        security=security,
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=uses_tty,
        log_path=str(logs / container["name"] / f"{attempt}.log"),
        termination_message_path=container.get("terminationMessagePath") or "/dev/termination-log",
        termination_message_file=str(
            termination_message_file(pods_directory, pod, container["name"], attempt)
        ),
        stop_signal=(container.get("lifecycle") or {}).get("stopSignal") or image.stop_signal or "SIGTERM",
        labels=make_labels(pod, container, image),
        pid_namespace_of=pid_namespace_of,
        layers=image.layers,
        volumes=image.volumes,
    )


def termination_message_file(pods_directory: Path, pod: Object, container_name: str, attempt: int) -> Path:
    """Return where the node keeps what a container writes to its terminationMessagePath."""
    return pods_directory / uid(pod) / "containers" / container_name / f"{attempt}.message"


def make_labels(pod: Object, container: Object, image: Image) -> dict[str, str]:
    """Return the labels by which the container is found again after a restart of the server (as in CRI)."""
    return {
        POD_NAME_LABEL: name(pod),
        POD_NAMESPACE_LABEL: namespace(pod),
        POD_UID_LABEL: uid(pod),
        CONTAINER_NAME_LABEL: container["name"],
        IMAGE_ID_LABEL: image.repo_digest,
        WANTED_IMAGE_LABEL: container["image"],
        RESOURCES_LABEL: resources_label(container.get("resources") or {}),
    }


def make_argv(container: Object, image: Image, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return entrypoint and arguments: `command` replaces both of the image's, `args` only its command."""
    command = tuple(expand(part, variables) for part in container.get("command") or ())
    args = tuple(expand(part, variables) for part in container.get("args") or ())
    argv = command + args if command else image.entrypoint + (args or image.command)
    if not argv:
        raise ConfigError("no command specified")
    return argv


def make_security(
    pod: Object, container: Object, image: Image, profile: SeccompProfile = DEFAULT_PROFILE
) -> Security:
    """Return who the container runs as and what it may do: its own securityContext over the pod's."""
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    merged = {**of_pod, **{key: value for key, value in own.items() if value is not None}}
    user = merged.get("runAsUser")
    if merged.get("runAsNonRoot") and not (_numeric_user(pod, container, image) if user is None else user):
        _refuse_root(pod, container, from_image=user is None)
    capabilities = own.get("capabilities") or {}
    groups = [*(of_pod.get("supplementalGroups") or [])]
    if of_pod.get("fsGroup") is not None and of_pod["fsGroup"] not in groups:
        groups.append(of_pod["fsGroup"])
    return Security(
        run_as_user=user,
        run_as_group=merged.get("runAsGroup"),
        supplemental_groups=tuple(groups),
        privileged=bool(own.get("privileged")),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        allow_privilege_escalation=own.get("allowPrivilegeEscalation") is not False,
        add_capabilities=tuple(c.removeprefix("CAP_") for c in capabilities.get("add") or ()),
        drop_capabilities=tuple(c.removeprefix("CAP_") for c in capabilities.get("drop") or ()),
        seccomp_unconfined=profile.unconfined,
        seccomp_profile=profile.json,
        apparmor_profile=app_armor_profile(pod, container),
        unmasked_proc=own.get("procMount") == "Unmasked",
        username=image.user if user is None else "",
        strict_groups=of_pod.get("supplementalGroupsPolicy") == "Strict",
    )


def _numeric_user(pod: Object, container: Object, image: Image) -> int:
    text = image.user.partition(":")[0]
    if text.isdigit() or not text:
        return int(text or 0)
    raise ConfigError(
        f"container has runAsNonRoot and image has non-numeric user ({text}), cannot verify user is non-root "
        f'(pod: "{pod_description(pod)}", container: {container["name"]})'
    )


def _refuse_root(pod: Object, container: Object, *, from_image: bool) -> None:
    place = f'(pod: "{pod_description(pod)}", container: {container["name"]})'
    if from_image:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {place}")
    raise ConfigError(f"container's runAsUser breaks non-root policy {place}")
