"""The node: kubelet, noded (the supervisor that is every container's parent), runtimes, volumes, probes."""
