"""What an Experiment says, read, checked and filled in: pure."""
