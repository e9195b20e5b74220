"""Turn a pod's spec into the surroundings that its containers share: hostname, DNS, namespaces, labels.

Pure but for reading the node's resolv.conf where dnsPolicy asks for it. Follows
pkg/kubelet/kuberuntime/kuberuntime_sandbox.go, pkg/kubelet/network/dns/dns.go and kubelet_pods.go.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from proa.client.protocol import Object
from proa.node.environment import ConfigError
from proa.node.resources import pod_resources, qos_class
from proa.node.runtime_cache import POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL
from proa.node.runtimes.protocol import SandboxConfig
from proa.node.settings import KubeletSettings
from proa.node.sysctls import pod_sysctls
from proa.objects.meta import labels, name, namespace, uid
from proa.objects.quick_dataclass import dataclass

HOSTNAME_LIMIT = 63
KERNEL_HOSTNAME_LIMIT = 64
MAX_DNS_SERVERS = 3
MAX_DNS_SEARCHES = 32
MAX_DNS_SEARCH_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Dns:
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def make_sandbox_config(
    pod: Object, settings: KubeletSettings, attempt: int, runtime_handler: str = ""
) -> SandboxConfig:
    """Return the sandbox of this attempt; raise ConfigError for a name that a hostname cannot be."""
    spec = pod["spec"]
    dns = make_dns(pod, settings)
    aliases = spec.get("hostAliases") or []
    hostname = hostname_of(pod, settings.node_name)
    domain_name = domain_name_of(pod, hostname, settings.cluster_domain)
    return SandboxConfig(
        namespace=namespace(pod),
        name=name(pod),
        uid=uid(pod),
        hostname=kernel_hostname(pod, hostname, domain_name),
        domain_name=domain_name,
        attempt=attempt,
        host_network=bool(spec.get("hostNetwork")),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        dns_servers=dns.servers,
        dns_searches=dns.searches,
        dns_options=dns.options,
        host_aliases=tuple((a["ip"], tuple(a.get("hostnames") or ())) for a in aliases),
        sysctls=pod_sysctls(pod),
        log_directory=str(log_directory(pod, settings.logs_directory)),
        labels={
            **labels(pod),
            POD_NAME_LABEL: name(pod),
            POD_NAMESPACE_LABEL: namespace(pod),
            POD_UID_LABEL: uid(pod),
        },
        runtime_handler=runtime_handler,
        share_processes=bool(spec.get("shareProcessNamespace")),
        host_users=spec.get("hostUsers") is not False,
        quality=qos_class(pod),
        resources=pod_resources(pod),
    )


def hostname_of(pod: Object, node_name: str) -> str:
    """Return what `hostname` says in the pod."""
    if pod["spec"].get("hostNetwork"):
        return node_name
    wanted = pod["spec"].get("hostnameOverride") or pod["spec"].get("hostname") or name(pod)
    return str(wanted)[:HOSTNAME_LIMIT].rstrip("-.")


def kernel_hostname(pod: Object, hostname: str, domain_name: str) -> str:
    """Return what the kernel calls the pod: its full name where setHostnameAsFQDN asks for it; raise ConfigError."""
    if not (pod["spec"].get("setHostnameAsFQDN") and domain_name):
        return hostname
    if len(domain_name) > KERNEL_HOSTNAME_LIMIT:
        raise ConfigError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {domain_name} is too long "
            f"({KERNEL_HOSTNAME_LIMIT} characters is the max, {len(domain_name)} characters requested)"
        )
    return domain_name


def domain_name_of(pod: Object, hostname: str, cluster_domain: str) -> str:
    """Return the pod's name in its subdomain, "" for a pod without one."""
    subdomain = pod["spec"].get("subdomain")
    if not subdomain or pod["spec"].get("hostnameOverride"):
        return ""
    return f"{hostname}.{subdomain}.{namespace(pod)}.svc.{cluster_domain}"


def log_directory(pod: Object, logs_directory: Path) -> Path:
    """Return the folder of the pod's logs."""
    return logs_directory / f"{namespace(pod)}_{name(pod)}_{uid(pod)}"


def make_dns(pod: Object, settings: KubeletSettings) -> Dns:
    """Return the pod's resolv.conf by its dnsPolicy and dnsConfig."""
    spec = pod["spec"]
    node = read_resolv_conf(settings.resolv_conf)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy == "None":
        base = Dns()
    elif policy == "Default" or not settings.cluster_dns:
        base = Dns(reachable(node.servers, settings.cluster_dns), node.searches, node.options)
    else:
        domain = settings.cluster_domain
        searches = (f"{namespace(pod)}.svc.{domain}", f"svc.{domain}", domain)
        base = Dns(settings.cluster_dns, (*searches, *node.searches), ("ndots:5",))
    return _merged(base, spec.get("dnsConfig") or {})


def _merged(base: Dns, more: Object) -> Dns:
    options = {o.partition(":")[0]: o for o in base.options}
    for option in more.get("options") or []:
        value = option.get("value")
        options[option["name"]] = option["name"] if value in (None, "") else f"{option['name']}:{value}"
    servers = dict.fromkeys([*base.servers, *(more.get("nameservers") or [])])
    searches = dict.fromkeys([*base.searches, *(more.get("searches") or [])])
    return Dns(tuple(servers)[:MAX_DNS_SERVERS], _fitting([*searches]), tuple(options.values()))


def _fitting(searches: list[str]) -> tuple[str, ...]:
    """Return as many as upstream lets a resolv.conf have."""
    found = searches[:MAX_DNS_SEARCHES]
    while sum(map(len, found)) + len(found) - 1 > MAX_DNS_SEARCH_CHARACTERS:
        found.pop()
    return tuple(found)


def reachable(servers: tuple[str, ...], cluster_dns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the host's resolvers as pods reach them: by way of the cluster's DNS, which asks them from the host, where
    they are at the host's loopback (systemd-resolved) or at a link-local address (some clouds)."""
    found: dict[str, None] = {}
    for server in servers:
        found.update(dict.fromkeys(cluster_dns if _is_the_hosts_alone(server) and cluster_dns else [server]))
    return tuple(found)


def _is_the_hosts_alone(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local


def read_resolv_conf(path: Path) -> Dns:
    """Return the file's entries, nothing when there is no such file."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for line in lines:
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = [word.rstrip(".") or word for word in words[1:]]
        elif words[0] == "options":
            options += words[1:]
    return Dns(tuple(servers[:MAX_DNS_SERVERS]), tuple(searches), tuple(options))
