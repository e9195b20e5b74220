"""A trial's run with the collector in its pods: pure."""
