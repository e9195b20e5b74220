"""Say what a pod's /etc/hosts and /etc/resolv.conf hold."""

from __future__ import annotations

import contextlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]

_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hosts_file(ip: str, config: Record, second: str = "") -> str:
    """Return a pod's /etc/hosts (pkg/kubelet/kubelet_pods.go: managedHostsFileContent)."""
    if config["host_network"]:
        with open("/etc/hosts") as file:
            text = "# Kubernetes-managed hosts file (host network).\n" + file.read()
    else:
        domain_name, hostname = config.get("domain_name") or "", config["hostname"]
        short = hostname.partition(".")[0] if hostname == domain_name else hostname  # setHostnameAsFQDN
        names = [name for name in (domain_name, short) if name]
        text = _HOSTS + "".join(f"{each}\t" + "\t".join(names) + "\n" for each in (ip, second) if each)
    if config["host_aliases"]:
        lines = [f"{address}\t" + "\t".join(names) for address, names in config["host_aliases"]]
        text += "\n# Entries added by HostAliases.\n" + "\n".join(lines) + "\n"
    return text


def resolv_conf(config: Record) -> str:
    """Return a pod's /etc/resolv.conf; the host's where the pod has no servers of its own."""
    if not config["dns_servers"]:
        with contextlib.suppress(FileNotFoundError), open("/etc/resolv.conf") as file:
            return file.read()
        return ""
    lines = [f"search {' '.join(config['dns_searches'])}"] if config["dns_searches"] else []
    lines += [f"nameserver {server}" for server in config["dns_servers"]]
    lines += [f"options {' '.join(config['dns_options'])}"] if config["dns_options"] else []
    return "\n".join(lines) + "\n"
