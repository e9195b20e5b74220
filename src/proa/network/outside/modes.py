"""Name what `proa up --outside-network` may be. Standard library only: the command line reads it."""

YES, NO, LOOPBACK = "yes", "no", "loopback"
MODES = (YES, NO, LOOPBACK)
HOST_NAME = "host.proa.internal"
"""What pods call the host: one of its addresses, or with LOOPBACK its loopback."""
