"""StatefulSets: controller.py reads and writes; plan.py, identity.py, retention.py and status.py decide, purely."""
