"""The ClusterServingRuntimes and the configuration that every cluster has."""
