"""Structural schemas of the built-in kinds, as data: types, fields and merge keys, no prose."""
