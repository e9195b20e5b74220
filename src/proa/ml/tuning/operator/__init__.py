"""Experiments, suggestions and trials, reconciled."""
