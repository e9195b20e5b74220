"""Services and DNS on the pod network."""
