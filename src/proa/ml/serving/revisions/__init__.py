"""A component's pods, revisions' names and hashes, and which revisions are kept. Pure."""
