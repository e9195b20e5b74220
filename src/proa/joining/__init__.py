"""Have another machine's node in a cluster: how it is invited, how it becomes known there, and what runs on it."""
