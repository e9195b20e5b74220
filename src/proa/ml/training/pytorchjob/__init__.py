"""PyTorchJobs, reconciled: pods that find one another."""
