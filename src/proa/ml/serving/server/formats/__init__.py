"""Formats of models: a file each, which is imported when a model of it is loaded."""
