"""Volumes and claims: claims.py binds claims, volumes.py keeps volumes' phases, matching.py decides what fits."""
