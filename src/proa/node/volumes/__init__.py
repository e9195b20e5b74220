"""Make a pod's volumes ready on the node, keep them up to date, and take them away."""
