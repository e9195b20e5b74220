"""Structural schemas of custom resources: what they prune, default, require and merge."""
