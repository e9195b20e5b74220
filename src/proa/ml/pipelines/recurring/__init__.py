"""Recurring runs: schedule.py says when one is due, plan.py what then, loop.py does it; macros.py fills in [[...]]."""
