"""Serve custom resources: what the stored CustomResourceDefinitions say is in the catalog, and nothing else."""
