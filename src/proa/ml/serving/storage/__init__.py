"""A model's files by scheme: fetched, verified, kept once a node; and the program of the storage initializer."""
