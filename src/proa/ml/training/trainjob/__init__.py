"""TrainJobs, reconciled: a runtime and a TrainJob make a JobSet."""
