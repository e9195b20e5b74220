"""Runs brought to their end through the Kubernetes API."""
