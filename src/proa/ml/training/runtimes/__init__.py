"""The ClusterTrainingRuntimes that every cluster has, and what the SDK looks for beside them."""
