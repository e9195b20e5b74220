"""Pipelines as one part of a cluster: its database, artifacts, operator and REST API, started when first needed."""
