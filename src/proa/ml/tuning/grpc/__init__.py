"""Katib's gRPC services: served and called."""
