"""What was measured: the points of each trial's metrics."""
