"""Tuning: Katib's experiments, trials and suggestions; README.md is the map."""
