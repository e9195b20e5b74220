"""Proa: Kubernetes and Kubeflow in one small boat."""

__version__ = "0.1.0"
