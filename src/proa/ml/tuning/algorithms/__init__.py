"""Search and early-stopping algorithms, one file each."""
