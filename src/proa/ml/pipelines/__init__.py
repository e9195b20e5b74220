"""Kubeflow Pipelines: compiled pipelines run as pods, with caching, artifacts, schedules and history (README.md)."""
