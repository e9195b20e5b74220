"""Admission policies: what they say is compiled (compiled.py), and put to work by validating.py and mutating.py."""
