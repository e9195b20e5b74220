"""Keep in cluster.json what a cluster was last asked to be, so that a start that asks for nothing brings it back.

Standard library only, and no dataclasses: `proa up` reads this before anything else.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from proa.home import Home, write_private

LOOPBACK = "127.0.0.1"
EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - what `--listen` may ask for
"""Addresses that are to be listened on and not to be connected to, and which one to take instead."""
LOG = "log"
"""What `--store` calls the home's own log."""
FILE = "file"
"""What `--pipelines-database` calls the home's own."""
FAMILIES = ("IPv4", "IPv4,IPv6")
"""What `--ip-families` may ask for."""
SEPARABLE = ("controllers", "scheduler", "pipelines", "tuning", "training", "serving")
"""Components that `--without` may name: they have verbs of their own."""


DEFAULT_GRACE_PERIOD = "50s"
"""Upstream's --node-monitor-grace-period (cmd/kube-controller-manager, 1.32 and later)."""


class BadSettings(Exception):
    """cluster.json is not what a cluster has written."""


class Wanted(NamedTuple):
    """What one `proa up` asks for, each as the option of that name; None is what it was before, "" is none."""

    port: int | None = None
    listen: str | None = None
    nodes: int | None = None
    node_monitor_grace_period: str | None = None
    store: str | None = None
    encryption_config: str | None = None
    audit_policy: str | None = None
    audit_log: str | None = None
    without: str | None = None
    scheduler_config: str | None = None
    outside_network: str | None = None
    ip_families: str | None = None
    kubelet_config: str | None = None
    pipelines_database: str | None = None
    pipelines_port: int | None = None
    tuning_database: str | None = None
    tuning_port: int | None = None

    def options(self) -> list[str]:
        """Return the words of a command line that asks for the same."""
        asked = [(name, value) for name, value in zip(self._fields, self, strict=True) if value is not None]
        return [word for name, value in asked for word in (f"--{name.replace('_', '-')}", str(value))]


class Settings(NamedTuple):
    """What a cluster keeps of itself in `cluster.json`. `listen` is the host's address for API and NodePorts.

    `store` is where its objects are: "" for the log in the home, else an etcd's address. `encryption` is the file
    that says how they are encrypted there, "" for none. `audit_policy` is the file that says what the audit log has of
    requests, or "default", "" for no log; `audit_log` is that log's file, "" for the one in the home. `without` names
    the components, with commas between, that run elsewhere. `node_monitor_grace_period` is for how long a node may be
    silent (`4s`) before it counts as unreachable. `scheduler_config` is the scheduler's configuration, "" for none,
    `kubelet_config` that of the nodes' kubelets. `outside_network` says whether pods reach the host's networks: one of
    network/outside/modes.py. `ip_families` are those of pods' and services' addresses: one of FAMILIES.
    `pipelines_database` is where pipelines' history is: "" for a file in the home, else PostgreSQL's URL, without a
    password; `pipelines_port` is where the host's loopback has their API. `tuning_database` is where the points of
    trials' metrics are, likewise; `tuning_port` is where the host's loopback has Katib's DBManager.
    """

    id: str
    port: int
    listen: str = LOOPBACK
    store: str = ""
    encryption: str = ""
    audit_policy: str = ""
    audit_log: str = ""
    without: str = ""
    nodes: int = 1
    node_monitor_grace_period: str = DEFAULT_GRACE_PERIOD
    scheduler_config: str = ""
    outside_network: str = "yes"
    ip_families: str = "IPv4"
    kubelet_config: str = ""
    pipelines_database: str = ""
    pipelines_port: int = 8888
    tuning_database: str = ""
    tuning_port: int = 6789

    @property
    def node_monitor_grace_seconds(self) -> float:
        """Return after how many seconds a silent node counts as unreachable."""
        from proa.objects.durations import parse_duration

        return parse_duration(self.node_monitor_grace_period) / 1e9

    def with_nodes(self, wanted: Wanted) -> Settings:
        """Return these settings with what is wanted of nodes."""
        return self._replace(
            nodes=wanted.nodes or self.nodes,
            node_monitor_grace_period=wanted.node_monitor_grace_period or self.node_monitor_grace_period,
            outside_network=wanted.outside_network or self.outside_network,
            ip_families=wanted.ip_families or self.ip_families,
        )

    @property
    def address(self) -> str:
        """Return where clients on this machine find the API."""
        return EVERYWHERE.get(self.listen, self.listen)

    def unmet(self, wanted: Wanted) -> Wanted:
        """Return what is wanted and not so here. Port 0, any free one, is always met."""
        has = Wanted(
            port=self.port,
            listen=self.listen,
            nodes=self.nodes,
            node_monitor_grace_period=self.node_monitor_grace_period,
            store=self.store or LOG,
            encryption_config=self.encryption,
            audit_policy=self.audit_policy,
            audit_log=self.audit_log,
            without=self.without,
            scheduler_config=self.scheduler_config,
            outside_network=self.outside_network,
            ip_families=self.ip_families,
            kubelet_config=self.kubelet_config,
            pipelines_database=self.pipelines_database or FILE,
            pipelines_port=self.pipelines_port,
            tuning_database=self.tuning_database or FILE,
            tuning_port=self.tuning_port,
        )
        ports = {"port", "pipelines_port", "tuning_port"}
        asked = wanted._replace(**{name: getattr(wanted, name) or None for name in ports})
        met = [name for name in Wanted._fields if getattr(asked, name) == getattr(has, name)]
        return asked._replace(**dict.fromkeys(met))


def default_families() -> str:
    """Return the address families of a new cluster: both where this machine's kernel has both."""
    return FAMILIES[-1] if os.path.exists("/proc/net/if_inet6") else FAMILIES[0]


def read_settings(home: Home) -> Settings | None:
    """Return what a home's cluster has kept, None where there is no cluster yet; raise BadSettings."""
    try:
        return Settings(**json.loads(home.settings.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BadSettings(f"{home.settings} cannot be read: {error}") from None


def keep_settings(home: Home, settings: Settings, kept: Settings | None) -> None:
    """Write what is not in cluster.json yet."""
    if settings != kept:
        write_private(home.settings, json.dumps(settings._asdict(), indent=2))
