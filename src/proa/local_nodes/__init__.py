"""The nodes of this machine: each its own noded, network, kubelet and service proxy, started and ended one by one."""
