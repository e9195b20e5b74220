"""Training: TrainJobs, JobSets and PyTorchJobs; README.md is the map."""
