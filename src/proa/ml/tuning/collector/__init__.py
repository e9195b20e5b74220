"""The program that reads a trial's metrics in its pod: of the standard library alone."""
