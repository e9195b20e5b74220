"""What happens next in a run, decided without I/O."""
