"""JobSets, reconciled: replicated Jobs that start, end and restart as one."""
