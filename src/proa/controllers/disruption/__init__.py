"""Disruption budgets: controller.py reads and writes; scales.py asks how many pods there shall be, plan.py counts."""
