"""Serve what pods and nodes use (metrics.k8s.io) and what pods say of themselves (custom and external metrics)."""
