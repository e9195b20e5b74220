"""Build images of Dockerfiles: parse, resolve stages, run steps on this machine's isolation, commit to the store."""
