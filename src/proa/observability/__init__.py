"""Metrics and logs. Imports nothing of proa."""
