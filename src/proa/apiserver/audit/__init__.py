"""The audit log: what of each request is written (policy), as what (events), and where (log)."""
