"""Recurring runs: schedule.py says when one is due, plan.py what to do, loop.py does it; macros.py: [[Index]] and such."""
