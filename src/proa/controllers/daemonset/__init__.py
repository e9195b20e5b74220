"""DaemonSets: controller.py reads and writes; nodes.py, plan.py, rollout.py and status.py decide, purely."""
