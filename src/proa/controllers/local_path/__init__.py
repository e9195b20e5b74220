"""The provisioner of the class `local-path`: a directory on this machine for each claim."""
