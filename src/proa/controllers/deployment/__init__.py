"""Deployments: controller.py reads and writes; rollout.py, history.py and status.py decide, purely."""
