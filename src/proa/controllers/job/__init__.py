"""Jobs: controller.py reads and writes.

tally.py counts, backoff.py waits, outcome.py says how a Job ends, plan.py which pods come and go, status.py what is
written; indexes.py and intervals.py number the pods, policies.py reads what users say of failures and successes.
"""
