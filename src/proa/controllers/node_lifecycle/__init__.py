"""Nodes that fall silent: when one counts as unreachable (health.py), what keeps and drives pods from it (taints.py),

and how fast, by zones (zones.py); controller.py acts.
"""
