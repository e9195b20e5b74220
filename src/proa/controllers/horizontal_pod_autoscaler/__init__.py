"""Scale workloads by what their pods use or say: HorizontalPodAutoscaler."""
